#!/usr/bin/env bash
# MoRA against the Python tools it works with: tokenizers, transformers, peft and llama.cpp read what it writes and compute
# what it computes; the openai client talks to its server. Ends with a line `N passed, N failed`; exits 1 if anything failed.
#
# usage: tools/interop.sh [CHECK…]        (checks: tokenize hidden convert peft mora_as_lora peft_family embeddings merge llama_cpp report serve; default: all)
# Needs build/release/mora (or MORA=program) and makes its own Python environment in .cache/interop: about 2 GB, and a
# few minutes of compiling for llama.cpp; `report` needs Debian's chromium. MORA_INTEROP_VENV names one that is there already.
. "$(dirname "$0")/common.sh"
cd "$root"
venv="${MORA_INTEROP_VENV:-$cache/interop}"
export MORA="${MORA:-$root/build/release/mora}"

[ -x "$MORA" ] || fail "interop: no $MORA: build it first (cmake --preset release && cmake --build --preset release)"
tools/fetch.sh minilm smollm2 reviews editorials instructions
if [ ! -x "$venv/bin/python" ]; then
  note "making $venv"
  python3 -m venv "$venv" || fail "interop: python3 has no venv: apt-get install python3-venv"
  retry 3 "$venv/bin/python" -m pip install --quiet torch transformers peft tokenizers safetensors numpy llama-cpp-python openai ||
    { rm -rf "$venv"; fail "interop: pip could not install what the checks need"; }
fi
exec "$venv/bin/python" tools/interop.py "$@"
