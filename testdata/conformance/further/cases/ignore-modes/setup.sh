set -e
chmod 700 d; chmod 711 d/e