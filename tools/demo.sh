#!/usr/bin/env bash
# MoRA from nothing to a fine-tuned model: installs what is missing, builds, fetches all-MiniLM-L6-v2 and ten thousand
# movie reviews, trains an adapter on them (a few minutes on two cores), and shows the accuracy before and after.
#
# usage: tools/demo.sh [key.sub=value …]        (overrides of examples/classification.yaml, e.g. train.epochs=1)
. "$(dirname "$0")/common.sh"
cd "$root"
out=runs/demo
mora=build/release/mora
valid=.cache/data/reviews.valid.tsv

tools/install_dependencies.sh build fetch
cmake --preset release >/dev/null
cmake --build build/release --target mora
tools/fetch.sh minilm reviews

accuracy() { "$mora" eval --json --quiet --model .cache/models/minilm --data "$valid" --task classification "$@" |
  tail -n 1 | sed -nE 's/.*"accuracy": *([0-9.]+).*/\1/p'; }

# Before: one update at a learning rate of zero, so the frozen model under the head as it is initialised.
note "== before: the head as it is initialised"
rm -rf "$out" "$out-before"
"$mora" train examples/classification.yaml out="$out-before" train.epochs=null train.steps=1 optimizer.lr=0 --quiet >/dev/null
before=$(accuracy --adapter "$out-before/adapter")
note "== training"
"$mora" train examples/classification.yaml out="$out" "$@"
after=$(accuracy --adapter "$out/adapter")
printf 'validation accuracy before: %s\nvalidation accuracy after:  %s\n' "$before" "$after"
printf 'the adapter is in %s/adapter; try it:\n  %s predict --model .cache/models/minilm --adapter %s/adapter --data %s --out predictions.jsonl\n' \
  "$out" "$mora" "$out" "$valid"
