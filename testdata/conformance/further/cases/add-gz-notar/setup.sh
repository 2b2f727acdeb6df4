set -e
echo hello | gzip -n > a.gz