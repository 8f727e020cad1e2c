#!/usr/bin/env bash
# Installs the Debian packages that are missing, and touches nothing when none is.
#
# usage: tools/install_dependencies.sh [build] [fetch] [test] [check] [bare] [package]      (default: build fetch)
#   build  compiler, CMake and the libraries of cmake/Dependencies.cmake (Debian's dnnl-config.cmake asks for OpenCL's headers)
#   fetch  what tools/fetch.sh needs
#   test   what tools/test.sh needs besides
#   check  what tools/test.sh --all adds: clang, its sanitizer runtimes, linters
#   bare   what tools/bare_root.sh adds: debootstrap
#   package  what cpack adds, for the Debian package
# As root it installs; otherwise through sudo; with neither it prints the one line to run and exits 1.
. "$(dirname "$0")/common.sh"

declare -A packages=(
  [build]="g++ cmake ninja-build pkg-config ccache lld libdnnl-dev ocl-icd-opencl-dev libeigen3-dev nlohmann-json3-dev
           libhwy-dev libfmt-dev libyaml-cpp-dev libcli11-dev libpcre2-dev libutf8proc-dev libxxhash-dev libgtest-dev
           libboost-dev libboost-context-dev"
  [fetch]="python3-pip unzip ca-certificates"
  [test]="git valgrind"
  [check]="clang clang-format clang-tidy clang-tools libclang-rt-14-dev libomp-dev cppcheck"
  [bare]="debootstrap"
  [package]="dpkg-dev file"
)
[ $# -gt 0 ] || set -- build fetch

installed() { [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

command -v apt-get >/dev/null || fail "no apt-get here: MoRA is built on Debian 12; elsewhere install the equivalents of: ${packages[build]//$'\n'/ }"
missing=()
for group; do
  [ -n "${packages[$group]:-}" ] || fail "install_dependencies: unknown group '$group' (build, fetch, test, check, bare, package)"
  for package in ${packages[$group]}; do
    installed "$package" || missing+=("$package")
  done
done
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" != 0 ]; then
  if ! command -v sudo >/dev/null; then
    note "error: missing packages and neither root nor sudo; run as root:"
    note "apt-get update && apt-get install -y --no-install-recommends ${missing[*]}"
    exit 1
  fi
  as_root=(sudo)
fi

apt() {
  ${as_root[@]+"${as_root[@]}"} env DEBIAN_FRONTEND=noninteractive \
    apt-get -q -y -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300 "$@" </dev/null
}

note "installing ${missing[*]}"
# The package lists may be absent (a bare root) or older than the archive: refresh them only then.
if ! apt-get -q --simulate install --no-install-recommends "${missing[@]}" >/dev/null 2>&1 ||
  ! apt install --no-install-recommends "${missing[@]}"; then
  retry 4 apt update || fail "apt-get update failed: check the network and /etc/apt/sources.list"
  retry 3 apt install --no-install-recommends "${missing[@]}" || fail "apt-get could not install: ${missing[*]}"
fi
