set -e
truncate -s 5M s; printf x | dd of=s bs=1 seek=3000000 conv=notrunc 2>/dev/null