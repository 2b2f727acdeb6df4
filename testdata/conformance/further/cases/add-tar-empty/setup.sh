set -e
tar cf a.tar -T /dev/null