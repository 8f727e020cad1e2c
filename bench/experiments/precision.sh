#!/usr/bin/env bash
# Does training in 16 bits follow training in 32? MiniLM on the labels of movie reviews and SmolLM2-135M on their text, LoRA r = 8, 100 updates of the
# same batches in f32, bf16 and f16 (with its loss scale): the mean loss of every ten updates, and how far it is from f32's.
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

means() { field loss <"$runs/$1/metrics.jsonl" | awk '{ s += $1; ++n } n == 10 { print s / n; s = n = 0 } END { if (n) print s / n }'; }  # means RUN

echo "model,precision,window,mean_loss,difference_percent" >"$csv"
for model in MiniLM SmolLM2; do
  for precision in f32 bf16 f16; do
    trained "$model-$precision" "$runs/$model.yaml" train.precision="$precision"
    paste <(means "$model-f32") <(means "$model-$precision") |
      awk -v start="$model,$precision" '{ d = 100 * ($2 / $1 - 1); print start "," NR "," $2 "," (d < 0 ? -d : d) }' >>"$csv"
  done
done
awk -F, 'NR == 1 { print "| model | precision | least and greatest mean loss of ten updates | largest difference from f32, % |\n|---|---|---|---|"; next }
  { key = $1 " | " $2; if (!(key in most)) { order[++rows] = key; low[key] = $4; high[key] = $4; most[key] = 0 }
    if ($4 < low[key]) low[key] = $4; if ($4 > high[key]) high[key] = $4; if ($5 > most[key]) most[key] = $5 }
  END { for (r = 1; r <= rows; ++r) { k = order[r]; printf "| %s | %.4g … %.4g | %.2f |\n", k, low[k], high[k], most[k] } }' "$csv"
