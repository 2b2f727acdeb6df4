set -e
touch -d 2001-02-03T04:05:06.789Z f d/a; touch -d 1969-01-01 d/b; touch -d 2040-05-05 d/c; touch -d 2002-02-02 d