set -e
ln d/a d/b; ln d/a top