#!/bin/bash
# A worker's start in a container. Everything is set by the environment (see `firn-worker --help`); this finds its name.
#
# A worker must keep its name over restarts, and the host name of a container that was made anew is a new one. The name
# of the container (firn_worker_1) stays, and the network's DNS server tells it for the container's own address.
set -euo pipefail

if [[ -z ${NAME:-} ]]; then
  read -r address _ < <(getent hosts "$HOSTNAME") || true
  read -r _ name _ < <(getent --service=hosts:dns hosts "${address:-}") || true
  name=${name:-$HOSTNAME}
  export NAME=${name%%.*}
fi
export DATA=${DATA:-/data/$NAME}
exec firn-worker "$@"
