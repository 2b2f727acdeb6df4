set -e
mkdir t; echo 1 > t/f; tar cf a.tar -C t f; echo 22 > t/f; tar rf a.tar -C t f; rm t/f; mkdir t/f; tar rf a.tar -C t f