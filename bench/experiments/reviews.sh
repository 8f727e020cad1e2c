#!/usr/bin/env bash
# Adapters on movie reviews at the nearest equal number of trained parameters: MoRA with each operator, LoRA, DoRA, AdaLoRA. MiniLM, 150 updates of
# 32 rows, three seeds; validation accuracy and loss. The learning rate is 1e-3 and the scaling of the LoRAs 2 for all;
# AdaLoRA, whose E starts at zero between small A and B, has a second row with 1e-2. DoRA has rank 7 on the wide
# layers, to pay for its magnitudes; AdaLoRA starts at rank 12 and has come to 8 after 105 updates, which is when its parameters are counted.
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

wide="'[0-9]+[.](intermediate|output)[.]dense'"
echo "adapter,seed,parameters,accuracy,loss" >"$csv"
for adapter in mora-{rotation,rotation_full,sharing,group,group_sharing,sharing_group,truncation,decouple} lora dora adalora adalora-1e-2; do
  for seed in $(seeds 3); do
    settings=(adapter.kind="${adapter%%-*}" train.seed="$seed")
    case $adapter in
      mora-*) settings+=(adapter.operator="${adapter#mora-}") ;;
      dora) settings+=(adapter.rank_pattern="{$wide: 7}" adapter.alpha_pattern="{$wide: 14}") ;;
      adalora*) settings+=(adapter.rank=12 adapter.alpha=24 adapter.adapt='{budget: 8}') ;;
    esac
    [ "$adapter" != adalora-1e-2 ] || settings+=(optimizer.lr=1e-2)
    trained "$adapter-$seed" "$runs/config.yaml" "${settings[@]}"
    run=$adapter-$seed
    echo "$adapter,$seed,$(of_run "$run" trainable_parameters),$(of_run "$run" accuracy),$(of_run "$run" loss)" >>"$csv"
  done
done
table 1 3 <"$csv"
