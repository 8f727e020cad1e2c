#!/usr/bin/env bash
# A first-time user's walk through the README: its ```sh blocks, in their order, as if copied and pasted into one shell.
# Each command has to succeed, and what was trained has to show.
#
# usage: tools/walk.sh        (minutes, and those of the build; in a bare Debian 12: tools/bare_root.sh FOLDER tools/walk.sh)
. "$(dirname "$0")/common.sh"
cd "$root"
commands=$(mktemp)
trap 'rm -f "$commands"' EXIT
awk '/^```/ { inside = $0 == "```sh"; next } inside' README.md >"$commands"
[ -s "$commands" ] || fail "walk: README.md has no \`\`\`sh block"
rm -rf my runs/tickets runs/bakery  # of an earlier walk
bash -veuo pipefail "$commands" </dev/null || fail "walk: the last command above failed"

has() { grep -qF "$2" "$1" || fail "walk: $1 has no '$2'"; }  # has FILE TEXT
has <(sed -n 1p my/predictions.jsonl) '"label":"billing"'
has <(sed -n 2p my/predictions.jsonl) '"label":"technical"'
has runs/bakery/metrics.jsonl '"text":"We open at six in the morning, every day but Monday."'
[ -s my/bakery-peft/adapter_model.safetensors ] || fail "walk: no PEFT adapter"
note "walk: all of it works"
