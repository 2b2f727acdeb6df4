set -e
ln -s dir l