#!/usr/bin/env bash
# The arrows of docs/architecture.md: a folder includes itself and what stands below it, by paths from the root.
# The folders below come from the DEPENDS lists of CMakeLists.txt, so this checks also what a build by chance lets through.
set -euo pipefail
cd "$(dirname "$0")/../.."

git ls-files '*.h' '*.cpp' '*.cu' '*.cuh' | grep -vE '^(tests|examples)/' | xargs grep -nH '^ *# *include *"' |
  awk -v cmake=CMakeLists.txt '
    function folder(path) {  # the target that owns a path: its longest declared prefix
      while (path != "" && !(path in known)) path = (path ~ /\//) ? substr(path, 1, match(path, /\/[^\/]*$/) - 1) : ""
      return owner[path]
    }
    function reaches(from, to,   n, i, list) {
      if (from == to || seen[from, to]++) return from == to
      n = split(depends[from], list, " ")
      for (i = 1; i <= n; ++i) if (reaches(list[i], to)) return 1
      return 0
    }
    BEGIN {
      while ((getline line < cmake) > 0) text = text " " line
      while (match(text, /mora_(library|program)\([^)]*\)/)) {
        call = substr(text, RSTART, RLENGTH); text = substr(text, RSTART + RLENGTH)
        sub(/^[^(]*\(/, "", call); sub(/\)$/, "", call)
        n = split(call, word, " "); name = word[1]; mode = "DEPENDS_OFF"
        known[name]; owner[name] = name
        for (i = 2; i <= n; ++i) {
          if (word[i] ~ /^(SOURCES|DEPENDS|PRIVATE)$/) mode = word[i]
          else if (mode == "SOURCES") { known[word[i]]; owner[word[i]] = name }
          else if (mode == "DEPENDS") depends[name] = depends[name] " " word[i]
        }
      }
    }
    {
      split($0, part, ":"); file = part[1]
      match($0, /"[^"]*"/); header = substr($0, RSTART + 1, RLENGTH - 2)
      from = folder(file); to = folder(header); delete seen
      if (from == "") complaint = "belongs to no target"
      else if (to == "") complaint = "is not a path from the root of the repository"
      else if (!reaches(from, to)) complaint = "is above " from
      else next
      printf "%s:%s: \"%s\" %s\n", file, part[2], header, complaint; bad = 1
    }
    END { exit bad }'
