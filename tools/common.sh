# Sourced by the scripts of this folder: messages, retries, and the way to root.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache="$root/.cache"

note() { printf '%s\n' "$*" >&2; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

# retry TRIES COMMAND…: runs COMMAND until it succeeds, waiting 2, 4, 8 … seconds in between.
retry() {
  local tries=$1 wait=2
  shift
  until "$@"; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || return 1
    note "retrying in $wait s: $*"
    sleep "$wait"
    wait=$((wait * 2))
  done
}
