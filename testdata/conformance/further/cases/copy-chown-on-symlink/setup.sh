set -e
ln -s f d/l