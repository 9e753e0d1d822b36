#!/usr/bin/env bash
# Writes the keys 1 to 7 through the http listener on PORT: POST /api with a JSON body.
#
#   scripts/curl.post.sh PORT
set -euo pipefail

if (($# != 1)) || ! [[ $1 =~ ^[0-9]{1,5}$ ]]; then
  echo "usage: scripts/curl.post.sh PORT; for example scripts/curl.post.sh 1234" >&2
  exit 2
fi
key=0
for color in blue red green orange purple teal magenta; do
  key=$((key + 1))
  curl --silent --show-error --fail-with-body --header 'Content-Type: application/json' \
    --data "{\"key\":$key,\"data\":\"$color\"}" "http://127.0.0.1:$1/api"
  echo
done
