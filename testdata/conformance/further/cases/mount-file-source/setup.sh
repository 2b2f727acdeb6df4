set -e
chmod 640 d/x