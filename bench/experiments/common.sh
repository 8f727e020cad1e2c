# What the experiments share. They have one shape:
#
#   bench/experiments/NAME.sh     trains and measures with the `mora` command alone
#   runs/experiments/NAME/RUN/    what a run left. One with a result.json is not made again: a script that was stopped goes on
#   docs/experiments/NAME.csv     every measurement, one a line, written anew from the runs
#   docs/experiments.md           the tables of it, and what they show
#
# A script prints its table in Markdown. SHORT=1 makes every run a few updates and writes below runs/short/ alone, for the tests. MORA: the
# command, if not that of build/release.
. "$(dirname "${BASH_SOURCE[0]}")/../../tools/common.sh"
cd "$root"
mora=${MORA:-build/release/mora}
name=$(basename "$0" .sh)
runs=runs/experiments/$name
csv=docs/experiments/$name.csv
if [ "${SHORT:-}" ]; then
  runs=runs/short/$name
  csv=$runs/$name.csv
fi
mkdir -p "$runs" "$(dirname "$csv")"

updates() { [ "${SHORT:-}" ] && echo 2 || echo "$1"; }  # updates N: N, or few in a short run
seeds() { [ "${SHORT:-}" ] && echo 0 || seq 0 "$(($1 - 1))"; }  # seeds N: 0 … N - 1
# validation_of DOMAIN: the file with its validation rows; in a short run, with a few.
validation_of() {
  local file=.cache/data/$1.valid.tsv
  [ "${SHORT:-}" ] && head -n 65 "$file" >"$runs/$1.valid.tsv" && file=$runs/$1.valid.tsv
  echo "$file"
}

# trained RUN CONFIG [key=value…]: trains into $runs/RUN unless that is done; its result is $runs/RUN/result.json.
trained() {
  local run=$1 config=$2
  shift 2
  [ -e "$runs/$run/result.json" ] && return
  rm -rf "${runs:?}/$run"
  note "== $name: $run"
  "$mora" train "$config" out="$runs/$run" "$@" --json --quiet | tail -n 1 >"$runs/$run.json"
  mv "$runs/$run.json" "$runs/$run/result.json"
}

# field NAME: that number in a line of JSON on stdin; of several, the last.
field() { sed -nE "s/.*\"$1\": ?([-+0-9.e]+).*/\1/p"; }
median() { sort -g | awk '{ x[NR] = $1 } END { print x[int((NR + 1) / 2)] }'; }  # of the numbers on stdin
of_run() { field "$2" <"$runs/$1/result.json"; }  # of_run RUN FIELD

# table KEYS VALUES: the CSV on stdin as Markdown. Lines that agree in their first KEYS columns make one row, in the order they come; of the last
# VALUES columns it shows mean ± standard deviation (mean alone where they are one). Columns between are left out.
table() {
  awk -F, -v keys="$1" -v values="$2" '
    function shown(x, digits) { return sprintf(x >= 10 ^ digits ? "%.0f" : "%." digits "g", x) }
    NR == 1 {
      for (i = 1; i <= keys; ++i) printf "| %s ", $i
      for (i = NF - values + 1; i <= NF; ++i) printf "| %s ", $i
      printf "| runs |\n"
      for (i = 1; i <= keys + values + 1; ++i) printf "|---"
      print "|"
      next
    }
    {
      key = ""
      for (i = 1; i <= keys; ++i) key = key "| " $i " "
      if (!(key in n)) order[++rows] = key
      ++n[key]
      for (i = 1; i <= values; ++i) { x = $(NF - values + i); sum[key, i] += x; square[key, i] += x * x }
    }
    END {
      for (r = 1; r <= rows; ++r) {
        key = order[r]; printf "%s", key
        for (i = 1; i <= values; ++i) {
          mean = sum[key, i] / n[key]; variance = (square[key, i] - n[key] * mean * mean) / (n[key] > 1 ? n[key] - 1 : 1)
          printf "| %s ", shown(mean, 4) (variance > 1e-12 * square[key, i] ? " ± " shown(sqrt(variance), 2) : "")
        }
        printf "| %d |\n", n[key]
      }
    }'
}
