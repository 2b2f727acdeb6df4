set -e
ln -s dir l; ln -s /dir/sub ab