#!/usr/bin/env bash
# For tests only: builds the image of ../../Dockerfile where no image can be pulled and nothing may be compiled twice.
#
#   tests/docker/images.sh FOLDER TAG
#
# FOLDER holds built firn-uplink, firn-worker and firn. Two images stand in for those the Dockerfile names:
# - TAG-base: bash and a few programs of this machine with their libraries, nothing else. Not Debian's slim image.
# - TAG-builder: the same, and a `cargo` that compiles nothing: it puts FOLDER's binaries where a build would.
# All else, every line of the Dockerfile, is what a real build does.
set -euo pipefail

if (($# != 2)); then
  echo "usage: tests/docker/images.sh FOLDER TAG" >&2
  exit 2
fi
binaries=$(realpath "$1") tag=$2
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# Every program with the libraries it loads, at their own paths.
for program in bash sh cat cp getent ls mkdir; do
  file=$(realpath "$(command -v "$program")")
  install -D "$file" "$folder/base/bin/$program"
  ldd "$file" | grep -o '/[^ ]*' | while read -r library; do install -D "$library" "$folder/base$library"; done
done
for binary in firn-uplink firn-worker firn; do
  ldd "$binaries/$binary" | grep -o '/[^ ]*' | while read -r library; do install -D "$library" "$folder/base$library"; done
done
mkdir -p "$folder/base"/{etc,tmp,proc,sys,dev,usr/bin}
echo 'hosts: files dns' >"$folder/base/etc/nsswitch.conf"
ln -s /bin/bash "$folder/base/usr/bin/bash"
tar --create --directory "$folder/base" --owner=0 --group=0 . | docker import --change 'ENV PATH=/usr/local/bin:/usr/bin:/bin' - "$tag-base" >/dev/null

mkdir -p "$folder/base/built"
for binary in firn-uplink firn-worker firn; do
  # What debugging needs would be most of the image.
  strip --strip-debug -o "$folder/base/built/$binary" "$binaries/$binary"
done
cat >"$folder/base/bin/cargo" <<'CARGO'
#!/bin/sh
mkdir -p target/release && cp /built/* target/release/
CARGO
chmod +x "$folder/base/bin/cargo"
tar --create --directory "$folder/base" --owner=0 --group=0 . | docker import --change 'ENV PATH=/usr/local/bin:/usr/bin:/bin' - "$tag-builder" >/dev/null

# The first stage gets a tag too, so that nothing without a name is left when the tags are removed.
for image in "--target=build --tag=$tag-built" "--tag=$tag"; do
  # shellcheck disable=SC2086  # two words
  docker build --quiet --build-arg "BUILDER=$tag-builder" --build-arg "BASE=$tag-base" $image . >/dev/null
done
echo "$tag"
