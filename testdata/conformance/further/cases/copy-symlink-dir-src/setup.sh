set -e
ln -s d l; ln -s /d/x m