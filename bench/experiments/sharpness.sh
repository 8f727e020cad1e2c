#!/usr/bin/env bash
# Does SAM find flatter minima that generalise better when labels are few? MiniLM with MoRA on a tenth of the movie reviews' training rows (every tenth),
# AdamW against SAM around it, 120 updates of 16 rows, three seeds: validation accuracy, and the top Hessian eigenvalue of the training loss
# over all that is trained (mora sharpness, 128 training rows).
#
# usage: bench/experiments/sharpness.sh        (tools/fetch.sh minilm reviews; about 12 minutes on two cores)
. "$(dirname "$0")/common.sh"
awk 'NR == 1 || NR % 10 == 0' .cache/data/reviews.train.tsv >"$runs/tenth.tsv"
cat >"$runs/config.yaml" <<YAML
model: .cache/models/minilm
task: classification
head: {pooling: mean}
data: {train: $runs/tenth.tsv, valid: .cache/data/reviews.valid.tsv}
adapter: {kind: mora, rank: 8}
optimizer: {kind: adamw, lr: 1e-3}
schedule: {kind: linear, warmup: 0.06}
train: {epochs: null, steps: $(updates 120), batch_size: 16, eval_every: null, save_every: null}
out: $runs
YAML

echo "optimizer,seed,accuracy,top_eigenvalue" >"$csv"
for kind in adamw sam; do
  for seed in $(seeds 3); do
    run=$kind-$seed
    sam=null
    [ "$kind" = adamw ] || sam="{kind: $kind}"
    trained "$run" "$runs/config.yaml" optimizer.sam="$sam" train.seed="$seed"
    [ -e "$runs/$run/sharpness.json" ] ||
      "$mora" sharpness --model .cache/models/minilm --adapter "$runs/$run/adapter" --data "$runs/tenth.tsv" --task classification \
        --rows "$([ "${SHORT:-}" ] && echo 4 || echo 128)" --iterations "$(updates 20)" --json --quiet | tail -n 1 >"$runs/$run/sharpness.json"
    echo "$kind,$seed,$(of_run "$run" accuracy),$(field top_eigenvalue <"$runs/$run/sharpness.json")" >>"$csv"
  done
done
table 1 2 <"$csv"
