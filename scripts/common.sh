# shellcheck shell=bash
# What the scripts that start processes share. Sourced, not run.
#
# FIRN_PROFILE=dev uses the debug build; the default is release.
# FIRN_PORTS=free gives every listener a free port instead of its usual one.

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
profile=${FIRN_PROFILE:-release}
case $profile in
  dev) binaries=${CARGO_TARGET_DIR:-target}/debug ;;
  release) binaries=${CARGO_TARGET_DIR:-target}/release ;;
  *) echo "FIRN_PROFILE is $profile; it must be dev or release" >&2; exit 2 ;;
esac

# Everything started by `start`, by process id: its name.
declare -A started=()
folder=

say() { printf '%s\n' "$*" >&2; }
tell() { printf '%s\n' "$*"; }

# Every binary, in the chosen profile. All at once, so that what the tests have built is not built again.
build() {
  cargo build --workspace --bins --profile "$profile"
}

# port USUAL: the port to ask for.
port() { if [[ ${FIRN_PORTS:-usual} == free ]]; then echo 0; else echo "$1"; fi; }

# is_number TEXT: whether it is a plain decimal number.
is_number() { [[ $1 =~ ^[0-9]{1,5}$ ]]; }

# start NAME BINARY ARGUMENT…: one process in the background, its log and its line of addresses in $folder.
start() {
  local name=$1 binary=$2
  shift 2
  "$binaries/$binary" "$@" --print-addresses >"$folder/$name.out" 2>"$folder/$name.log" &
  started[$!]=$name
}

# wait_ready NAME: until NAME has printed its addresses, which is when it is ready.
wait_ready() {
  local name=$1 deadline=$((SECONDS + 60)) pid
  until [[ -s $folder/$name.out ]]; do
    for pid in "${!started[@]}"; do
      if [[ ${started[$pid]} == "$name" ]] && ! kill -0 "$pid" 2>/dev/null; then
        say "$name ended before it was ready:"
        cat "$folder/$name.log" >&2
        exit 1
      fi
    done
    if ((SECONDS > deadline)); then
      say "$name is not ready after 60 s; its log:"
      cat "$folder/$name.log" >&2
      exit 1
    fi
    sleep 0.05
  done
}

# address NAME PROTOCOL: host:port of a listener.
address() { sed -n "s/.*\"$2\":\"\([^\"]*\)\".*/\1/p" "$folder/$1.out"; }

# end NAMES: SIGTERM to what was started under a name that matches, and waits for it.
end() {
  local pid ending=()
  for pid in "${!started[@]}"; do
    # shellcheck disable=SC2053  # NAMES is a pattern
    if [[ ${started[$pid]} == $1 ]]; then ending+=("$pid"); fi
  done
  if ((${#ending[@]} > 0)); then
    kill -TERM "${ending[@]}" 2>/dev/null || true
    wait "${ending[@]}" 2>/dev/null || true
  fi
}

# Ends what was started, and nothing else. The uplink goes last: a worker that stays after the others needs it to take over.
end_all() {
  trap - EXIT
  trap '' INT TERM
  end '!(uplink)'
  end uplink
  if [[ -n $folder ]]; then rm -rf "$folder"; fi
}

# From here on Ctrl-C, SIGTERM and the script's end all end what `start` started.
begin() {
  folder=$(mktemp -d "${TMPDIR:-/tmp}/firn.XXXXXX")
  trap end_all EXIT
  trap 'end_all; exit 130' INT
  trap 'end_all; exit 143' TERM
}

# Stays until every started process has ended by itself, and names each that does.
stay() {
  local pid
  while ((${#started[@]} > 0)); do
    wait -n "${!started[@]}" 2>/dev/null || true
    for pid in "${!started[@]}"; do
      if ! kill -0 "$pid" 2>/dev/null; then
        say "${started[$pid]} has ended; its last lines:"
        tail -n 3 "$folder/${started[$pid]}.log" >&2
        unset "started[$pid]"
      fi
    done
  done
}
