#!/usr/bin/env bash
# One worker on loopback, for trying things: http on PORT, the other listeners on free ports. Ctrl-C ends it.
#
#   scripts/dev.sh PORT NAME
#
# It joins the uplink on port 4999 (UPLINK_PORT) and starts one there first if none answers; that uplink ends with the
# script that started it, and the other workers go on with the map they have. A second worker takes copies of what the
# first has (COPIES, 2 by default, when the uplink starts), and each one more its share; Ctrl-C hands it back first.
# FIRN_PROFILE=dev: the debug build.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

if (($# != 2)) || ! is_number "$1"; then
  say "usage: scripts/dev.sh PORT NAME; for example scripts/dev.sh 1238 w5"
  exit 2
fi
http=$1 name=$2
unset UPLINK NAME LISTEN DATA ADVERTISE
build
begin

uplink=http://127.0.0.1:${UPLINK_PORT:-4999}
if ! curl --silent --fail --max-time 2 --output /dev/null "$uplink/livez"; then
  start uplink firn-uplink --listen "127.0.0.1:${UPLINK_PORT:-4999}" --data "$folder/uplink"
  wait_ready uplink
  uplink=http://$(address uplink http)
  tell "uplink $uplink (started)"
fi
start "$name" firn-worker --name "$name" --uplink "$uplink" --listen "http=127.0.0.1:$http" \
  --listen resp=127.0.0.1:0 --listen boutique=127.0.0.1:0 --listen winter=127.0.0.1:0
wait_ready "$name"
for protocol in http resp boutique winter; do
  tell "$name $protocol $(address "$name" "$protocol")"
done
tell "ready: try scripts/curl.post.sh $(address "$name" http | sed 's/.*://')"
stay
