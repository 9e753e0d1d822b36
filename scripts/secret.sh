#!/usr/bin/env bash
# Puts a random CLUSTER_SECRET (256 bits, hex) into .env, which docker-compose reads. One that is there stays.
#
#   scripts/secret.sh [FILE]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

file=${1:-.env}
umask 077
if grep -qs '^CLUSTER_SECRET=.' "$file"; then
  echo "$file has a CLUSTER_SECRET already; remove the line to get another (every process needs the same one)"
  exit
fi
secret=$(od -An -v -tx1 -N32 /dev/urandom | tr -d ' \n')
if ((${#secret} != 64)); then
  echo "/dev/urandom gave no 32 bytes" >&2
  exit 1
fi
printf 'CLUSTER_SECRET=%s\n' "$secret" >>"$file"
chmod 600 "$file"
echo "a new CLUSTER_SECRET is in $file"
