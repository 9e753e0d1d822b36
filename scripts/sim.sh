#!/usr/bin/env bash
# Simulates whole clusters, each from one seed, with every kind of fault: what a seed did once it does again. A line for
# each seed, then what all came to; the exit code is 0 only when nothing was violated.
#
#   scripts/sim.sh [SEEDS] [more flags: --help]      so many seeds from 0 on, 2,000 by default
#   scripts/sim.sh --seeds 4294967296..4294969296    seeds from 2^32 on also lose the uplink's store
#   scripts/sim.sh --seeds 8589934592..8589936592    seeds from 2^33 on have disks: kills and power cuts, also of all at once
#   scripts/sim.sh --seed N [--trace]                one seed again
#   scripts/sim.sh --mutations                       for each rule of the protocol a seed that fails without it; some of
#                                                    those of disks need more than 10,000: --mutations --seeds 0..60000
#
# FIRN_PROFILE=dev uses the debug build, in which what is simulated is optimised too.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

seeds=()
if [[ ${1:-} =~ ^[1-9][0-9]{0,8}$ ]]; then
  seeds=(--seeds "0..$1")
  shift
fi
build
exec "$binaries/firn-sim" "${seeds[@]}" "$@"
