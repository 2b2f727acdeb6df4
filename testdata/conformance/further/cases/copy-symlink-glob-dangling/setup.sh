set -e
mkdir d; ln -s nope d/l; echo 1 > d/f