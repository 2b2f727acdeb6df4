set -e
mkdir -p t/d/e; echo 1 > t/f; echo 2 > t/d/g; ln -s f t/l; ln t/f t/h; chmod 2750 t/d; chmod 4711 t/d/g; mkfifo t/p; touch -d 2011-11-11 t/f
tar cf a.tar -C t .