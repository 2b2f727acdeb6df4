set -e
mkdir t; n=$(printf 'x%.0s' $(seq 180)); mkdir -p t/$n/$n; touch t/$n/$n/f; touch -d '2001-02-03 04:05:06.789' t/x; printf '\303\244' > t/$(printf '\303\244'); tar --format=pax -cf a.tar -C t .