#!/usr/bin/env bash
# Does training in 16 bits follow training in 32? MiniLM on the labels of movie reviews and SmolLM2-135M on their text, LoRA r = 8, 100 updates of the
# same batches in f32, bf16 and f16 (with its loss scale): the mean loss of every ten updates that were not skipped for an
# overflow, and how far it is from f32's.
#
# usage: bench/experiments/precision.sh        (tools/fetch.sh minilm smollm2 reviews; about 10 minutes on two cores)
. "$(dirname "$0")/common.sh"

config() {  # config MODEL TASK BATCH_SIZE
  cat <<YAML
model: $1
task: $2
data: {train: .cache/data/reviews.train.tsv, text: text, max_length: 64}
adapter: {kind: lora, rank: 8, alpha: 16}
optimizer: {kind: adamw, lr: 3e-4}
schedule: {kind: linear, warmup: 0.06}
train: {epochs: null, steps: $(updates 100), batch_size: $3, eval_every: null, save_every: null}
out: $runs
YAML
}
config .cache/models/minilm classification 32 >"$runs/MiniLM.yaml"
config .cache/models/SmolLM2-135M-Instruct.Q4_1.gguf causal_lm 8 >"$runs/SmolLM2.yaml"

losses() { sed -nE 's/^\{"step":([0-9]+),.*"loss":([^,]+).*/\1 \2/p' "$runs/$1/metrics.jsonl" | sort; }  # losses RUN: update and loss

# The means of ten updates, over those that neither run skipped.
windows() {  # windows RUN OTHER
  join <(losses "$1") <(losses "$2") | sort -g | awk '{ w = int(($1 - 1) / 10) + 1; a[w] += $2; b[w] += $3; ++n[w] }
    END { for (w = 1; w in n; ++w) { d = 100 * (b[w] / a[w] - 1); print w "," b[w] / n[w] "," (d < 0 ? -d : d) } }'
}

echo "model,precision,window,mean_loss,difference_percent" >"$csv"
for model in MiniLM SmolLM2; do
  for precision in f32 bf16 f16; do
    trained "$model-$precision" "$runs/$model.yaml" train.precision="$precision"
    windows "$model-f32" "$model-$precision" | sed "s/^/$model,$precision,/" >>"$csv"
  done
done
awk -F, 'NR == 1 { print "| model | precision | least and greatest mean loss of ten updates | largest difference from f32, % |\n|---|---|---|---|"; next }
  { key = $1 " | " $2; if (!(key in most)) { order[++rows] = key; low[key] = $4; high[key] = $4; most[key] = 0 }
    if ($4 < low[key]) low[key] = $4; if ($4 > high[key]) high[key] = $4; if ($5 > most[key]) most[key] = $5 }
  END { for (r = 1; r <= rows; ++r) { k = order[r]; printf "| %s | %.4g … %.4g | %.2f |\n", k, low[k], high[k], most[k] } }' "$csv"
