#!/usr/bin/env bash
# Reads the keys 1 to 7 through the http listener on PORT: GET /api?key=K. `node` says which worker owns each.
#
#   scripts/curl.get.sh PORT
set -euo pipefail

if (($# != 1)) || ! [[ $1 =~ ^[0-9]{1,5}$ ]]; then
  echo "usage: scripts/curl.get.sh PORT; for example scripts/curl.get.sh 1235" >&2
  exit 2
fi
for key in 1 2 3 4 5 6 7; do
  curl --silent --show-error --fail-with-body "http://127.0.0.1:$1/api?key=$key"
  echo
done
