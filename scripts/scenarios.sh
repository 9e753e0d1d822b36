#!/usr/bin/env bash
# What a cluster does while workers die, leave, join and stand still, with figures: one scenario after the other.
#
#   scripts/scenarios.sh [SCENARIO [more flags: --help]]      all of them by default, which takes about an hour
#
# failover, failover --fast, sigterm, resize, sticky, rejoin, sigstop, uplink-down, uplink-kill, cost, crash. The exit code
# is 1 when something was lost or failed that must not, 3 when only a figure missed its goal. FIRN_PROFILE=dev uses the
# debug build.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

build
if (($# > 0)); then exec "$binaries/scenarios" "$@"; fi
worst=0
while read -ra scenario; do
  code=0
  "$binaries/scenarios" "${scenario[@]}" || code=$?
  if ((worst != 1 && code != 0)); then worst=$code; fi
done <<'ALL'
failover
failover --fast
sigterm
resize
sticky
rejoin
sigstop
uplink-down
uplink-kill
cost
crash
crash --durability always
crash --durability always --power
crash --durability always --power --workers 3 --rounds 40
crash --power --workers 3 --rounds 40
crash --workers 3 --rounds 40
ALL
exit "$worst"
