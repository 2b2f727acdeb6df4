set -e
ln -s 2 1; ln -s d/x 2; ln -s ../1 d/up