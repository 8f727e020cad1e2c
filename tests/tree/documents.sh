#!/usr/bin/env bash
# Every relative link of the Markdown files leads to a file, and every tracked-looking path they put in backticks exists
# (a path without an extension may name a header).
set -euo pipefail
cd "$(dirname "$0")/../.."
status=0
while IFS=: read -r file target; do
  base=$(dirname "$file")
  [ -e "$base/$target" ] || [ -e "$target" ] || [ -e "$target.h" ] || { echo "$file: no such file: $target"; status=1; }
done < <(
  git ls-files '*.md' | while read -r file; do
    { grep -oE '\]\([^)#: ]+' "$file" | sed 's/^](//'
      grep -oE '`(engine|kernels|autograd|optim|loaders|mora|tools|tests|bench|docs|cmake|examples|\.ci)/[A-Za-z0-9_./-]+`' "$file" | tr -d '`'
    } | sort -u | sed "s|^|$file:|" || true
  done
)
exit $status
