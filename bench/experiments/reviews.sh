#!/usr/bin/env bash
# Adapters on movie reviews at the nearest equal number of trained parameters: MoRA with each operator, LoRA, DoRA, AdaLoRA. MiniLM, 150 updates of
# 32 rows, three seeds; validation accuracy and loss. Learning rates: 1e-3 for all.
#
# usage: bench/experiments/reviews.sh        (tools/fetch.sh minilm reviews; about 20 minutes on two cores)
. "$(dirname "$0")/common.sh"
cat >"$runs/config.yaml" <<YAML
model: .cache/models/minilm
task: classification
head: {pooling: mean}
data: {train: .cache/data/reviews.train.tsv, valid: .cache/data/reviews.valid.tsv}
adapter: {kind: mora, rank: 8, alpha: 16}
optimizer: {kind: adamw, lr: 1e-3}
schedule: {kind: linear, warmup: 0.06}
train: {epochs: null, steps: $(updates 150), batch_size: 32, precision: bf16, eval_every: null, save_every: null}
out: $runs
YAML

echo "adapter,parameters,seed,accuracy,loss" >"$csv"
for adapter in mora-{rotation,rotation_full,sharing,group,group_sharing,sharing_group,truncation,decouple} lora dora adalora; do
  for seed in $(seeds 3); do
    settings=(adapter.kind="${adapter%%-*}" train.seed="$seed")
    [[ $adapter == mora-* ]] && settings+=(adapter.operator="${adapter#mora-}")
    trained "$adapter-$seed" "$runs/config.yaml" "${settings[@]}"
    run=$adapter-$seed
    echo "$adapter,$(of_run "$run" trainable_parameters),$seed,$(of_run "$run" accuracy),$(of_run "$run" loss)" >>"$csv"
  done
done
table 2 2 <"$csv"
