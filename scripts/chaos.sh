#!/usr/bin/env bash
# Faults at random over real processes while clients read and write: kill -9, SIGSTOP, cuts, an uplink that is away, joins
# and drains. Each fault is a line with the seed; then what the clients saw is judged, and the exit code is 0 only when no
# acknowledged write was lost and nothing stale was read.
#
#   scripts/chaos.sh [MINUTES] [--seed N] [--plant stale-read|lost-write] [more flags: --help]
#
# 5 minutes by default. FIRN_PROFILE=dev uses the debug build.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

build
exec "$binaries/chaos" "$@"
