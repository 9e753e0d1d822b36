#!/usr/bin/env bash
# A cluster on loopback: an uplink on 4000 and N workers (default 4). Ctrl-C ends all of it.
#
#   scripts/services.sh [N]
#
# Worker i (from 0) listens on http 1234+i, resp 6379+i, boutique 4040+i and winter 6060+i. SHARD_LIMIT, KEY_INTEGER,
# COPIES (2 by default: any one worker may be killed) and every other setting of the binaries can be given in the
# environment. FIRN_PROFILE=dev: the debug build.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

workers=${1:-4}
if (($# > 1)) || ! is_number "$workers" || ((workers < 1)); then
  say "usage: scripts/services.sh [N]; N is the number of workers, 1 or more"
  exit 2
fi
unset UPLINK NAME LISTEN DATA ADVERTISE
build
begin

EXPECT_WORKERS=$workers start uplink firn-uplink --listen "127.0.0.1:$(port 4000)" --data "$folder/uplink"
wait_ready uplink
uplink=http://$(address uplink http)
for ((i = 0; i < workers; i++)); do
  start "w$((i + 1))" firn-worker --name "w$((i + 1))" --uplink "$uplink" \
    --listen "http=127.0.0.1:$(port $((1234 + i)))" --listen "resp=127.0.0.1:$(port $((6379 + i)))" \
    --listen "boutique=127.0.0.1:$(port $((4040 + i)))" --listen "winter=127.0.0.1:$(port $((6060 + i)))"
done
for ((i = 1; i <= workers; i++)); do wait_ready "w$i"; done

tell "uplink    $uplink   curl $uplink/v1/cluster"
for ((i = 1; i <= workers; i++)); do
  http=$(address "w$i" http) resp=$(address "w$i" resp)
  boutique=$(address "w$i" boutique) winter=$(address "w$i" winter)
  tell "w$i http      $http   curl -X PUT --data blue http://$http/v1/kv/default/sky; curl http://$http/v1/kv/default/sky"
  tell "w$i smache    $http   curl 'http://$http/api?key=sky'"
  tell "w$i resp      $resp   printf 'GET sky\r\n' | curl -sN --max-time 1 telnet://$resp"
  tell "w$i boutique  $boutique   printf 'CREATE b\nPUT b sky blue\nGET b sky\n' | curl -sN --max-time 1 telnet://$boutique"
  tell "w$i winter    $winter   printf 'GET default sky\n' | curl -sN --max-time 1 telnet://$winter"
done
tell "ready: $workers workers; logs in $folder; Ctrl-C ends all"
stay
