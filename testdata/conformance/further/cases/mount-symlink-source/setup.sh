set -e
ln -s d l