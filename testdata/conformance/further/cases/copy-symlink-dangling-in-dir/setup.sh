set -e
mkdir d; ln -s nope d/l