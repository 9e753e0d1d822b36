#!/usr/bin/env bash
# What durability costs, beside redis-server: SET with and without a log, the time from start to serving, disk used after
# overwrites, and GETs while the log is written anew. Usage: scripts/durability.sh [ROUNDS]; FIRN_BIN has the binaries.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
rounds=${1:-5}
bin=${FIRN_BIN:-target/release}
keys=${KEYS:-1000000}
if [[ ! -x $bin/firn-worker ]]; then
  cargo build --release --bin firn-worker
fi
for program in redis-server redis-cli redis-benchmark; do
  command -v "$program" >/dev/null || { echo "$program is not on PATH; on Debian: apt-get install redis" >&2; exit 1; }
done
work=$(mktemp -d)
pids=()
cleanup() {
  for pid in "${pids[@]}"; do kill -9 "$pid" 2>/dev/null || true; done
  rm -rf "$work"
}
trap cleanup EXIT

# start NAME PORT ARGUMENT…: a server, by its kind.
start() {
  local name=$1 port=$2
  shift 2
  case $name in
    firn*) "$bin/firn-worker" --name w1 --listen "resp=127.0.0.1:$port" "$@" >>"$work/$name.log" 2>&1 & ;;
    redis*) redis-server --port "$port" --save '' --loglevel warning "$@" >>"$work/$name.log" 2>&1 & ;;
  esac
  pid=$!
  pids+=("$pid")
}

# serves PORT KEY VALUE: waits until a key has its value.
serves() {
  until [[ $(redis-cli -p "$1" get "$2" 2>/dev/null) == "$3" ]]; do sleep 0.005; done
}

set_rate() {
  redis-benchmark -p "$1" -t set -n 500000 -r 100000 -d 100 -P 16 -c 50 --csv 2>/dev/null | awk -F'"' '/^"SET"/ { print $4 }'
}

median() { sort -g | awk '{ a[NR] = $1 } END { printf "%.3f (%.3f-%.3f)", a[int((NR + 1) / 2)], a[1], a[NR] }'; }

echo "SET, pipeline 16, 50 connections, 100 B: with a log that is synced every second over without, $rounds rounds"
start firn-none 7301
start firn-log 7302 --data "$work/firn"
mkdir "$work/redis"
start redis-none 7303 --appendonly no
start redis-log 7304 --appendonly yes --appendfsync everysec --dir "$work/redis"
for port in 7301 7302 7303 7304; do
  until redis-cli -p "$port" set up yes 2>/dev/null | grep -q OK; do sleep 0.05; done
done
for ((round = 0; round < rounds; round++)); do
  for port in 7301 7302 7303 7304; do
    set_rate "$port" >>"$work/rate.$port"
  done
done
paste "$work/rate.7302" "$work/rate.7301" | awk '{ print $1 / $2 }' | median | sed 's/^/  firn  /'; echo
paste "$work/rate.7304" "$work/rate.7303" | awk '{ print $1 / $2 }' | median | sed 's/^/  redis /'; echo
for pid in "${pids[@]}"; do kill -9 "$pid"; done
pids=()
rm -rf "$work/firn" "$work/redis"

echo "from start to serving, $keys keys of 100 B"
mkdir "$work/redis"
fill() { # PORT: every key once
  awk -v n="$keys" 'BEGIN { v = sprintf("%100s", ""); gsub(/ /, "x", v); for (i = 0; i < n; i++) printf "*3\r\n$3\r\nSET\r\n$%d\r\nkey:%d\r\n$100\r\n%s\r\n", length("key:" i), i, v; printf "*3\r\n$3\r\nSET\r\n$4\r\nlast\r\n$3\r\nyes\r\n" }' |
    redis-cli -p "$1" --pipe >/dev/null
}
start firn 7305 --data "$work/firn"
firn_pid=$pid
start redis 7306 --appendonly yes --appendfsync everysec --dir "$work/redis"
redis_pid=$pid
for port in 7305 7306; do
  until redis-cli -p "$port" set up yes 2>/dev/null | grep -q OK; do sleep 0.05; done
  fill "$port"
  serves "$port" last yes
done
sleep 2
for ((round = 0; round < rounds; round++)); do
  kill -9 "$firn_pid" "$redis_pid"
  wait "$firn_pid" "$redis_pid" 2>/dev/null || true
  begun=$EPOCHREALTIME
  start firn 7305 --data "$work/firn"
  firn_pid=$pid
  serves 7305 last yes
  between=$EPOCHREALTIME
  start redis 7306 --appendonly yes --appendfsync everysec --dir "$work/redis"
  redis_pid=$pid
  serves 7306 last yes
  awk -v a="$begun" -v b="$between" -v c="$EPOCHREALTIME" 'BEGIN { print b - a; print c - b > "/dev/stderr" }' \
    >>"$work/start.firn" 2>>"$work/start.redis"
  [[ $(redis-cli -p 7305 dbsize) == "$(redis-cli -p 7306 dbsize)" ]] || { echo "keys are missing" >&2; exit 1; }
done
echo "  firn  $(median <"$work/start.firn") s"
echo "  redis $(median <"$work/start.redis") s"
paste "$work/start.firn" "$work/start.redis" | awk '{ print $1 / $2 }' | median | sed 's/^/  firn over redis /'; echo

echo "disk used after ten overwrites of $keys keys, once quiet"
for ((n = 0; n < 10; n++)); do fill 7305; done
live=$(awk -v n="$keys" 'BEGIN { for (i = 0; i < n; i++) s += length("key:" i) + 100; print s }')
for ((n = 0; n < 120; n++)); do
  before=$(du -sb "$work/firn/log" | cut -f1)
  sleep 3
  [[ $(du -sb "$work/firn/log" | cut -f1) == "$before" ]] && break
done
awk -v used="$before" -v live="$live" 'BEGIN { printf "  %d bytes for %d live ones: %.2f\n", used, live, used / live }'

echo "GETs, 20 connections as fast as they go, while the log is written anew, and without"
gets() { redis-benchmark -p 7305 -t get -n 60000 -r "$keys" -c 20 --csv 2>/dev/null | awk -F'"' '/^"GET"/ { print $14 }'; }
for ((round = 0; round < rounds; round++)); do
  gets >>"$work/get.quiet"
  # Enough to have the log written anew, and nothing more is written after it.
  fill 7305
  gets >>"$work/get.busy"
  sleep 10
done
echo "  p99 quiet $(median <"$work/get.quiet") ms, after overwriting everything $(median <"$work/get.busy") ms"
