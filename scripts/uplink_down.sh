#!/usr/bin/env bash
# Traffic through every door of four workers while the uplink is killed, without one failure; then the uplink comes back
# and a fifth worker and a new table show that membership works again.
#
#   scripts/uplink_down.sh [SECONDS]      60 by default; the ordinary test run does 5
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seconds=${1:-60}
if (($# > 1)) || ! [[ $seconds =~ ^[1-9][0-9]{0,4}$ ]]; then
  echo "usage: scripts/uplink_down.sh [SECONDS]" >&2
  exit 2
fi
cargo build --workspace --bins
UPLINK_DOWN_SECONDS=$seconds exec cargo test --package firn-tests --test uplink_down -- --nocapture
