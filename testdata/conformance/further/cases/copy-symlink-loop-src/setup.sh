set -e
ln -s l l