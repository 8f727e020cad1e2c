#!/usr/bin/env bash
# What a high-rank update is for (Jiang et al. 2024, section 3): SmolLM2-135M learns 64 pairs of random UUIDs by heart, with MoRA and with LoRA of as
# many parameters (r = 8). Each takes of the same three learning rates the one with the least loss after 24 updates; then 160 updates of 8 pairs.
# Measured: the share of the 36 characters of the greedy answer that are right, after every 40 updates.
#
# usage: bench/experiments/uuid_memory.sh        (tools/fetch.sh smollm2; about 20 minutes on two cores)
. "$(dirname "$0")/common.sh"
model=.cache/models/SmolLM2-135M-Instruct.Q4_1.gguf
pairs=$([ "${SHORT:-}" ] && echo 4 || echo 64)
choice=$(updates 24)
total=$(updates 160)
every=$(updates 40)
rates="3e-4 1e-3 3e-3"

uuid() { printf '%s' "$1" | md5sum | sed -E 's/(.{8})(.{4})(.{4})(.{4})(.{12}).*/\1-\2-\3-\4-\5/'; }
for ((i = 1; i <= pairs; ++i)); do
  printf '{"prompt": "%s", "completion": " %s"}\n' "$(uuid "key $i")" "$(uuid "value $i")"
done >"$runs/pairs.jsonl"
cat >"$runs/config.yaml" <<YAML
model: $model
task: causal_lm
data: {train: $runs/pairs.jsonl, prompt: prompt, completion: completion}
adapter: {kind: mora, rank: 8, operator: rotation, alpha: 16}
optimizer: {kind: adamw, lr: 1e-3, weight_decay: 0}
schedule: {kind: constant_with_warmup, warmup: 10}
train: {epochs: null, steps: $choice, batch_size: 8, precision: bf16, eval_every: null, save_every: $every, keep: 1000}
out: $runs
YAML

# The lowest mean training loss of the last 8 updates (an epoch of 64 pairs) wins.
choose_rate() {  # choose_rate KIND
  local rate
  for rate in $rates; do
    trained "$1-choice-$rate" "$runs/config.yaml" adapter.kind="$1" optimizer.lr="$rate"
    printf '%s %s\n' "$(tail -n 8 "$runs/$1-choice-$rate/metrics.jsonl" | field loss | awk '{ s += $1 } END { print s / NR }')" "$rate"
  done | sort -g | head -n 1 | cut -d' ' -f2
}

# The share of characters of the greedy answers that are right at their place.
character_accuracy() {  # character_accuracy ADAPTER
  local prompt prompts=()
  while IFS= read -r prompt; do prompts+=(--prompt "$prompt"); done < <(sed -E 's/.*"prompt": "([^"]+)".*/\1/' "$runs/pairs.jsonl")
  "$mora" generate --model "$model" --adapter "$1" "${prompts[@]}" --max-tokens 40 --quiet --json | tail -n 1 |
    grep -oE '"text": ?"([^"\\]|\\.)*"' | sed -E 's/"text": ?" ?//; s/"$//' |
    paste <(sed -E 's/.*"completion": " ([^"]+)".*/\1/' "$runs/pairs.jsonl") - |
    awk -F'\t' '{ for (i = 1; i <= length($1); ++i) right += substr($1, i, 1) == substr($2, i, 1); all += length($1) } END { print right / all }'
}

echo "adapter,lr,parameters,updates,train_loss,character_accuracy" >"$csv"
for kind in mora lora; do
  rate=$(choose_rate "$kind")
  trained "$kind" "$runs/config.yaml" adapter.kind="$kind" optimizer.lr="$rate" train.steps="$total"
  for checkpoint in "$runs/$kind"/checkpoints/step-*; do
    step=$((10#${checkpoint##*-}))
    loss=$(grep "^{\"step\":$step,.*\"loss\"" "$runs/$kind/metrics.jsonl" | field loss)
    echo "$kind,$rate,$(of_run "$kind" trainable_parameters),$step,$loss,$(character_accuracy "$checkpoint")" >>"$csv"
  done
done
table 4 2 <"$csv"
