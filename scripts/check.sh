#!/usr/bin/env bash
# The whole gate: format, lints, tests, documentation, licences and advisories.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

step() { printf '\n== %s\n' "$*"; "$@"; }

step cargo fmt --all --check
step cargo clippy --workspace --all-targets -- -D warnings
step scripts/test.sh
RUSTDOCFLAGS='-D warnings' step cargo doc --workspace --no-deps
if command -v cargo-deny >/dev/null; then
  step cargo deny check
else
  echo "cargo-deny is not installed: licences and advisories are not checked"
fi
if command -v shellcheck >/dev/null; then
  step shellcheck --shell=bash --external-sources scripts/*.sh .ci/run
fi
