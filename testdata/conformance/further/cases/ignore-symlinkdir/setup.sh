set -e
ln -s d l; ln -s a m