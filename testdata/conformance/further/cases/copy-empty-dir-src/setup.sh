set -e
mkdir e; chmod 700 e