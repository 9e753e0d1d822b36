#!/usr/bin/env bash
# The tests: builds every binary, then runs `cargo test` on the whole workspace. Arguments go to `cargo test`.
#
#   scripts/test.sh [ARGUMENT…]
#
# A test whose outside program (redis-server, redis-cli, docker, …) is missing says that it skips; FIRN_TEST_ALL=1 makes
# it fail instead.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# The tests over real processes start these; cargo builds them only for tests of their own packages.
cargo build --workspace --bins
exec cargo test --workspace "$@"
