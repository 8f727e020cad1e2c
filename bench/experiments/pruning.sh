#!/usr/bin/env bash
# What falls with the ranks? AdaLoRA on every linear of MiniLM, or on the square ones alone, pruned from rank 12 to a mean of 4 while it trains, beside
# a run that has rank 4 from its start and one whose only adapter is of rank 1 on the first query, which stands for the step without adapters.
# Milliseconds for a thousand tokens (median of the updates before the first rank event, and after the last), the adapters' part of them, and the bytes of
# the adapters with their gradients and moments. 8 rows an update, so that adapters weigh.
#
# usage: bench/experiments/pruning.sh        (tools/fetch.sh minilm reviews; some minutes on two idle cores)
. "$(dirname "$0")/common.sh"
square='.*(query|key|value|attention\.output\.dense)'
cat >"$runs/config.yaml" <<YAML
model: .cache/models/minilm
task: classification
head: {pooling: mean}
data: {train: .cache/data/reviews.train.tsv, max_length: 64}
adapter: {kind: adalora, rank: 4}
optimizer: {kind: adamw, lr: 1e-3}
train: {epochs: null, steps: $(updates 80), batch_size: 8, eval_every: null, save_every: null}
out: $runs
YAML
if [ "${SHORT:-}" ]; then first=2 last=4 total=6; else first=80 last=120 total=200; fi

# speed RUN FROM TO: median milliseconds for a thousand tokens of the updates FROM … TO.
speed() {
  grep '"loss"' "$runs/$1/metrics.jsonl" | sed -nE 's/.*"step":([0-9]+).*"tokens":([0-9]+).*"seconds":([0-9.e+-]+).*/\1 \2 \3/p' |
    awk -v from="$2" -v to="$3" 'NR > 1 && $1 > from && $1 <= to { print 1e6 * ($3 - seconds) / ($2 - tokens) } { tokens = $2; seconds = $3 }' | median
}

# bytes RUN: of what the adapters hold: f32 values, gradients and two moments.
bytes() { echo $((16 * ($(of_run "$1" trainable_parameters) - 770))); }  # 384 x 2 + 2 are the classifier's

echo "targets,adapters,mean_rank,ms_per_1000_tokens,adapters_ms,bytes" >"$csv"
trained alone "$runs/config.yaml" adapter.kind=lora adapter.rank=1 adapter.targets='bert\.encoder\.layer\.0\.attention\.self\.query'
for targets in all-linear square; do
  [ $targets = square ] && setting=$square || setting=$targets
  trained "$targets-rank-4" "$runs/config.yaml" adapter.targets="$setting"
  trained "$targets-pruned" "$runs/config.yaml" adapter.targets="$setting" adapter.rank=12 train.steps=$total \
    adapter.adapt="{budget: 4, start: $first, end: $last, interval: $(updates 10)}"
  alone=$(speed alone 0 1000)
  row() {  # row NAME MEAN_RANK MILLISECONDS BYTES
    echo "$targets,$1,$2,$3,$(awk -v a="$3" -v b="$alone" 'BEGIN { print a - b }'),$4" >>"$csv"
  }
  row "before pruning" 12 "$(speed "$targets-pruned" 0 "$first")" "$((3 * $(bytes "$targets-rank-4")))"
  row "after pruning" "$(grep '"loss"' "$runs/$targets-pruned/metrics.jsonl" | tail -n 1 | field mean_rank)" \
    "$(speed "$targets-pruned" "$last" "$total")" "$(bytes "$targets-pruned")"
  row "rank 4 from the start" 4 "$(speed "$targets-rank-4" 0 1000)" "$(bytes "$targets-rank-4")"
done
table 2 4 <"$csv"
