#!/usr/bin/env bash
# What only a machine with an NVIDIA card can say, in one log: the build for that card; every kernel and op on it beside its twin on the
# processor; the benches of `mora bench --device cuda`, with a training step beside PyTorch + PEFT; and NVIDIA's sanitizers over the kernels.
# Ends with a line `N passed, N failed`; exits 1 if anything failed.
#
# usage: tools/gpu_check.sh [LOG]        (default: build/gpu_check.log; at most ten minutes on a card, the build apart)
# MORA_PYTHON: a Python with torch, transformers and peft for the training step beside ours (default: python3; left out where it has none)
. "$(dirname "$0")/common.sh"
cd "$root"
log=$(realpath -m "${1:-build/gpu_check.log}")
mkdir -p "$(dirname "$log")"
exec > >(tee "$log") 2>&1
passed=0 failed=0 budget=600

check() {  # check SECONDS NAME COMMAND…: within that time, and what is left of the budget
  local seconds=$1 name=$2 begin=$SECONDS used
  shift 2
  [ "$seconds" -le "$budget" ] || seconds=$budget
  note "== $name"
  if [ "$seconds" -gt 0 ] && timeout --kill-after=10 "$seconds" "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)); note "FAILED: $name"; fi
  used=$((SECONDS - begin)) budget=$((budget - SECONDS + begin))
  note "== $name: $used s of $seconds"
}

sanitized() {  # sanitized TOOL: the kernels' own cases under it; any finding fails
  check 90 "compute-sanitizer $1" compute-sanitizer --tool "$1" --error-exitcode 1 build/gpu/tests/test_cuda --gtest_brief=1 --gtest_filter='-*OnDevice*:*Training*:*EveryRun*'
}

command -v nvidia-smi >/dev/null || fail "gpu_check: there is no nvidia-smi, so no NVIDIA driver; tools/test.sh runs the kernels without a card"
nvidia-smi --query-gpu=name,compute_cap,driver_version,memory.total,memory.free --format=csv
tools/install_dependencies.sh build fetch test
architecture=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 | tr -d .)
[ "$architecture" != 90 ] || architecture=90a
cmake --preset release -B build/gpu -DMORA_CUDA=ON -DCMAKE_CUDA_ARCHITECTURES="$architecture" >/dev/null
cmake --build build/gpu -j "$(nproc)" --target mora test_cuda

check 20 doctor build/gpu/mora doctor
check 60 "cuDNN's attention" build/gpu/tests/test_cuda --gtest_filter='CudnnAttention*:AttentionPath*'
check 60 "small models' training by the faster attention" env MORA_ATTENTION=fastest build/gpu/tests/test_cuda --gtest_brief=1 --gtest_filter='*EveryRun*'
check 120 "every kernel and op, small models and their training, small benches" build/gpu/tests/test_cuda --gtest_brief=1
for subject in elementwise optimizer gemm attention training; do
  check 60 "bench $subject" build/gpu/mora bench $subject --device cuda --json
done
if "${MORA_PYTHON:-python3}" -c 'import torch, transformers, peft' 2>/dev/null; then
  check 240 "the training step with PyTorch + PEFT" "${MORA_PYTHON:-python3}" bench/training_peer.py
else
  note "PyTorch, transformers or PEFT is not installed for ${MORA_PYTHON:-python3}: the training step beside ours is left out"
fi
if command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck synccheck initcheck; do sanitized $tool; done
else
  note "compute-sanitizer is not installed (it is of the CUDA toolkit): left out"
fi
check 60 "every kernel and op, each launch waited for" env MORA_SYNC=1 build/gpu/tests/test_cuda --gtest_brief=1
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
