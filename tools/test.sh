#!/usr/bin/env bash
# Builds MoRA and tests it. Ends with a line `N passed, N failed`; exits 1 if anything failed.
#
# usage: tools/test.sh           the release suite: dependencies fetch build test tree
#        tools/test.sh --all     adds format lint experiments asan tsan fuzz
#        tools/test.sh STAGE…    those stages only
# Each stage prints its time beside its budget (seconds on two cores, nothing built before); at twice the budget it is
# stopped and counts as failed. Second runs reuse what is built and fetched.
. "$(dirname "$0")/common.sh"
cd "$root"
jobs=$(nproc)

declare -A budgets=([dependencies]=180 [fetch]=90 [build]=700 [test]=500 [tree]=10
                    [format]=20 [lint]=300 [experiments]=300 [asan]=1400 [tsan]=600 [fuzz]=700)
release=(dependencies fetch build test tree)
extra=(format lint experiments asan tsan fuzz)

record() { printf '%s %s\n' "$1" "$2" >>"$MORA_RESULTS"; }  # record PASSED FAILED

# check COMMAND…: one check that passes or fails as a whole.
check() {
  if "$@"; then record 1 0; else record 0 1; return 1; fi
}

# suite PRESET [ctest option…]: runs the tests of build/PRESET and records their number: the cases of a GoogleTest
# program one by one, any other test as one.
suite() {
  local preset=$1 status=0 report
  shift
  report="$root/build/$preset/tests.xml"
  ctest --test-dir "build/$preset" --output-on-failure --no-tests=error -j "$jobs" --output-junit "$report" \
    --test-output-size-passed 100000000 --test-output-size-failed 100000000 "$@" || status=1
  awk '/<testcase / { program = /status="run"/; cases = program; broken = !program; counted = 0 }
       /^\[  PASSED  \] [0-9]+ test/ { cases = $4; counted = 1 }
       /^\[  FAILED  \] [0-9]+ test/ { broken = $4; counted = 1 }
       /<\/testcase>/ { if (!program && counted && !broken) broken = 1
                        passed += cases; failed += broken }
       END { print passed + 0, failed + 0 }' "$report" >>"$MORA_RESULTS"
  return $status
}

build() {  # build PRESET [-D…]… [-- TARGET…]
  local preset=$1 options=()
  shift
  while [ $# -gt 0 ] && [ "$1" != -- ]; do options+=("$1"); shift; done
  [ $# -eq 0 ] || shift
  mkdir -p "build/$preset"
  cmake --preset "$preset" ${options[@]+"${options[@]}"} >"build/$preset/configure.log" 2>&1 ||
    { cat "build/$preset/configure.log"; return 1; }
  cmake --build "build/$preset" -j "$jobs" ${1:+--target "$@"}
}

sources() { git ls-files '*.h' '*.cpp' '*.cu' '*.cuh'; }

stage_dependencies() { tools/install_dependencies.sh build fetch test ${MORA_ALL:+check}; }
stage_fetch() { tools/fetch.sh; }
stage_build() { build release; }
stage_test() { suite release; }
stage_tree() { check tests/tree/include_arrows.sh && check tests/tree/documents.sh; }
stage_format() { sources | xargs clang-format --dry-run -Werror; }

stage_lint() {  # suppressed: what this cppcheck misreads in sound code ([[noreturn]] helpers, Highway's macros, early returns)
  check cppcheck --quiet --error-exitcode=1 --std=c++20 --language=c++ --enable=warning,portability --inline-suppr \
    --suppress=missingReturn --suppress=unknownMacro --suppress=internalAstError --suppress=syntaxError \
    --suppress=constStatement --suppress=compareBoolExpressionWithInt --suppress=accessMoved -I. -j "$jobs" \
    --file-list=<(git ls-files '*.cpp' ':!tests/*' ':!bench/*')
}

# Every experiment with a table, shortened: it ends, and leaves no field of its CSV empty.
shortened() {
  SHORT=1 bench/experiments/"$1".sh && awk -F, -v file="$1.csv" 'NR == 1 { columns = NF }
    NF != columns || /(^|,)(,|$)/ { print file ": line " NR ": " $0; bad = 1 } END { exit bad || NR < 2 }' "runs/short/$1/$1.csv"
}

stage_experiments() {
  local name status=0
  rm -rf runs/short
  for name in $(cd bench/experiments && ls *.sh | grep -v '^common.sh$'); do
    check shortened "${name%.sh}" || status=1
  done
  return $status
}

stage_asan() {
  build asan &&
    ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1:handle_sigbus=0 UBSAN_OPTIONS=print_stacktrace=1 suite asan
}

# The threads of the loaders and the server are std::thread; TSan does not know OpenMP's, wants addresses that are not random, and dies of SIGBUS itself.
stage_tsan() {
  setarch -R true || { note "tsan: this place does not allow setarch -R: left out"; return 0; }
  local run=(env TSAN_OPTIONS=halt_on_error=1 OMP_NUM_THREADS=1 setarch -R)
  build tsan -- test_loaders test_serving &&
    check "${run[@]}" build/tsan/tests/test_loaders --gtest_brief=1 --gtest_filter='-MappedFileDeathTest.OtherBusErrors*:*.AMillion*' &&
    check "${run[@]}" build/tsan/tests/test_serving --gtest_brief=1 \
      --gtest_filter='Malformed.AThousand*:Serving.AClient*:Serving.TheQueue*:Serving.WhoStill*'
}

stage_fuzz() {  # every parser, MORA_FUZZ_SECONDS each; what is found stays in build/fuzz/tests/fuzz/found
  local targets
  mapfile -t targets < <(cd tests/fuzz && ls *_fuzz.cpp | sed -E 's/(.*)_fuzz.cpp/fuzz_\1/')
  build fuzz "-DMORA_FUZZ_SECONDS=${MORA_FUZZ_SECONDS:-30}" -- "${targets[@]}" && suite fuzz -L fuzz
}

if [ "${1:-}" = --stage ]; then  # one stage, called below
  "stage_$2"
  exit
fi

case "${1:-}" in
  "") stages=("${release[@]}") ;;
  --all) stages=("${release[@]}" "${extra[@]}"); export MORA_ALL=1 ;;
  -*) fail "usage: tools/test.sh [--all | STAGE…]; stages: ${release[*]} ${extra[*]}" ;;
  *) stages=("$@") ;;
esac
for stage in "${stages[@]}"; do
  [ -n "${budgets[$stage]:-}" ] || fail "test: no stage '$stage'; stages: ${release[*]} ${extra[*]}"
done

MORA_RESULTS=$(mktemp)
export MORA_RESULTS
trap 'rm -f "$MORA_RESULTS"' EXIT
table=()
for stage in "${stages[@]}"; do
  note "== $stage (budget ${budgets[$stage]} s)"
  begin=$SECONDS verdict=ok
  before=$(awk '{n += $2} END {print n + 0}' "$MORA_RESULTS")
  if ! timeout --foreground --kill-after=10 "$((2 * budgets[$stage]))" bash "$0" --stage "$stage" </dev/null; then
    verdict=FAILED
    [ "$(awk '{n += $2} END {print n + 0}' "$MORA_RESULTS")" -gt "$before" ] || record 0 1
  elif [ $((SECONDS - begin)) -gt "${budgets[$stage]}" ]; then
    verdict="ok, over budget"
  fi
  table+=("$(printf '%-13s %5d s of %4d s  %s' "$stage" $((SECONDS - begin)) "${budgets[$stage]}" "$verdict")")
  [ "$verdict" != FAILED ] || [ "$stage" != build ] || break
done
printf '%s\n' "${table[@]}"
awk '{passed += $1; failed += $2} END {printf "%d passed, %d failed\n", passed, failed; exit failed > 0}' "$MORA_RESULTS"
