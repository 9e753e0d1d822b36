#!/usr/bin/env bash
# Firn beside Debian's redis-server and memcached, and valkey-server when it is on PATH, in one interleaved run; HTTP
# beside a bare actix-web handler; and the bare tokio server that is the floor of the Redis protocol. Prints medians,
# least and most, and Firn's processor time over each other's, and writes the same as JSON to target/compare.json.
#
#   scripts/bench.sh [--quick] [--rounds N] [--operations N] [--keys N] [--connections N] [--http-seconds N] [--json FILE]
#
# The whole takes about a quarter of an hour, --quick less than three minutes. Absolute throughput moves by a third from
# minute to minute on a small machine; the ratios and the processor time of one run hold.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

arguments=()
for argument in "$@"; do
  case $argument in
    --quick) arguments+=(--rounds=3 --operations=100000 --keys=200000 --http-seconds=1) ;;
    *) arguments+=("$argument") ;;
  esac
done
for program in redis-benchmark redis-server memcached wrk; do
  if ! command -v "$program" >/dev/null; then
    echo "$program is missing: apt-get install redis-tools redis-server memcached wrk" >&2
    exit 1
  fi
done
cargo build --release --workspace --bins
exec "${CARGO_TARGET_DIR:-target}/release/compare" "${arguments[@]}"
