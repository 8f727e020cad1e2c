#!/usr/bin/env bash
# Is `mora plan` right? Its peak of memory and its time of an update, for five configurations, beside what training then takes.
#
# usage: bench/experiments/plan.sh        (tools/fetch.sh minilm smollm2 reviews editorials; eight minutes on two quiet cores)
. "$(dirname "$0")/common.sh"
common="{epochs: null, steps: $(updates 300), batch_size: 32, eval_every: null, save_every: null}"
cat >"$runs/minilm.yaml" <<YAML
model: .cache/models/minilm
data: {train: .cache/data/reviews.train.tsv}
train: $common
out: $runs
YAML
cat >"$runs/smollm2.yaml" <<YAML
model: .cache/models/SmolLM2-135M-Instruct.Q4_1.gguf
task: causal_lm
data: {train: .cache/data/editorials.train.tsv, text: text, max_length: 512}
adapter: {kind: lora, rank: 16}
train: {epochs: null, steps: $(updates 8), batch_size: null, batch_tokens: 2048, eval_every: null, save_every: null}
out: $runs
YAML

row() {  # row NAME CONFIG [key=value…]: a line of the CSV
  local name=$1 config=$2 plan=$runs/$1.plan.json
  shift 2
  [ -e "$plan" ] || "$mora" plan "$config" out="$runs/$name" "$@" --json --quiet | tail -n 1 >"$plan.new"
  [ -e "$plan" ] || mv "$plan.new" "$plan"
  trained "$name" "$config" "$@"
  awk -v OFS=, -v name="$name" -v bytes="$(field peak_bytes <"$plan")" -v seconds="$(field seconds_per_step <"$plan")" \
    -v peak="$(of_run "$name" peak_memory_bytes)" -v all="$(of_run "$name" seconds)" -v steps="$(of_run "$name" steps)" 'BEGIN {
      print name, int(bytes / 2^20), int(peak / 2^20), bytes / peak - 1, seconds, all / steps, seconds / (all / steps) - 1 }'
}

{
  echo "run,planned_mib,measured_mib,memory_error,planned_seconds,measured_seconds,time_error"
  row minilm_mora "$runs/minilm.yaml" adapter.kind=mora
  row minilm_lora_bf16 "$runs/minilm.yaml" adapter.kind=lora train.precision=bf16
  row minilm_lora_sam_recompute "$runs/minilm.yaml" adapter.kind=lora 'optimizer.sam={kind: sam}' train.recompute=true
  row smollm2_lora "$runs/smollm2.yaml"
  row smollm2_lora_bf16_recompute "$runs/smollm2.yaml" train.precision=bf16 train.recompute=true
} >"$csv"
table 1 6 <"$csv"
