set -e
chmod 700 d; chown 5:6 d