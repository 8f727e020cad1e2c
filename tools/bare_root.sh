#!/usr/bin/env bash
# The proof that a fresh Debian 12 machine is enough: makes a bare root with debootstrap, clones the committed state of
# this repository into it, and runs the README's commands there.
#
# usage: tools/bare_root.sh [--fresh] [FOLDER] [COMMAND…]     (default: build/bare_root, tools/demo.sh and tools/test.sh)
# Needs root. A FOLDER that has a root already is used again, with what the last run installed, unless --fresh is given.
# The bare root gets this machine's way to its registries: apt's configuration, certificates, pip's configuration and
# environment, the proxy variables. It gets nothing else.
. "$(dirname "$0")/common.sh"
fresh=
[ "${1:-}" != --fresh ] || { fresh=1; shift; }
folder=$(realpath -m "${1:-$root/build/bare_root}")
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- tools/demo.sh tools/test.sh
[ "$(id -u)" = 0 ] || fail "bare_root: debootstrap and chroot need root"

unmount() {
  local point
  for point in dev/pts dev proc; do
    ! mountpoint -q "$folder/$point" || umount -l "$folder/$point"
  done
}

make_root() {
  "$root/tools/install_dependencies.sh" bare
  local mirror
  mirror=$(find /etc/apt/sources.list /etc/apt/sources.list.d -name '*.list' -o -name '*.sources' 2>/dev/null | xargs -r cat |
    sed -nE 's/^(deb( \[.*\])?|URIs:) +(https?:[^ ]+).*/\3/p' | sed -n 1p) || true
  note "bootstrapping $folder"
  mkdir -p "$folder"
  retry 3 debootstrap --variant=minbase bookworm "$folder" "${mirror:-http://deb.debian.org/debian}" >"$folder.log" 2>&1 ||
    { tail -n 5 "$folder.log" >&2; fail "debootstrap failed: $folder.log"; }
}

copy_registries() {
  local path target
  rm -f "$folder/etc/apt/sources.list"
  for path in /etc/apt /etc/ssl/certs /usr/share/ca-certificates /usr/local/share/ca-certificates /usr/share/keyrings \
    /etc/resolv.conf /etc/hosts /etc/pip.conf "$HOME/.config/pip" "$HOME/.pip" ${PIP_FIND_LINKS:-}; do
    case $path in "$HOME"/*) target=/root/${path#"$HOME"/} ;; *) target=$path ;; esac
    [ ! -e "$path" ] || [[ $path == *://* ]] || { mkdir -p "$folder$(dirname "$target")"; cp -aLT --remove-destination "$path" "$folder$target"; }
  done
}

trap unmount EXIT
if [ -n "$fresh" ]; then unmount; rm -rf --one-file-system "$folder"; fi
[ -e "$folder/etc/debian_version" ] || make_root
copy_registries
mount -t proc proc "$folder/proc"
mount --bind /dev "$folder/dev"
mount --bind /dev/pts "$folder/dev/pts"
rm -rf "$folder/root/mora.new"
git clone -q --no-hardlinks "$root" "$folder/root/mora.new"
# What an earlier run built and fetched stays; everything else is the clone's.
for kept in build .cache; do
  [ ! -e "$folder/root/mora/$kept" ] || mv "$folder/root/mora/$kept" "$folder/root/mora.new/$kept"
done
rm -rf "$folder/root/mora"
mv "$folder/root/mora.new" "$folder/root/mora"

mapfile -t passed < <(env | grep -E '^(PIP_|https?_proxy=|HTTPS?_PROXY=|no_proxy=|NO_PROXY=|SSL_CERT_|REQUESTS_CA_BUNDLE=)')
for command; do
  note "== in the bare root: $command"
  chroot "$folder" env -i HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb \
    ${passed[@]+"${passed[@]}"} bash -c "cd /root/mora && time $command" </dev/null ||
    fail "bare_root: '$command' failed"
done
