#!/usr/bin/env bash
# Four domains of sentiment learned one after the other, in two orders, without protection and with each of continual.kind: average accuracy after
# the last, and backward transfer (docs/continual_learning.md). MiniLM, 60 updates of 16 rows a task, two seeds.
#
# usage: bench/experiments/continual.sh        (tools/fetch.sh minilm reviews products tweets editorials; about 15 minutes on two cores)
. "$(dirname "$0")/common.sh"

config() {  # config ORDER…: a configuration that learns these domains
  printf 'model: .cache/models/minilm\ntask: classification\nhead: {pooling: mean}\ntasks:\n'
  local domain
  for domain; do
    printf '  - {name: %s, data: {train: .cache/data/%s.train.tsv, valid: %s, max_length: 64}}\n' "$domain" "$domain" "$(validation_of "$domain")"
  done
  cat <<YAML
continual: {kind: sequential}
adapter: {kind: lora, rank: 8, alpha: 16}
optimizer: {kind: adamw, lr: 1e-3}
schedule: {kind: linear, warmup: 0.06}
train: {epochs: null, steps: $(updates 60), batch_size: 16, precision: bf16, eval_every: null, save_every: null}
out: $runs
YAML
}
config reviews products tweets editorials >"$runs/forth.yaml"
config editorials tweets products reviews >"$runs/back.yaml"

echo "order,kind,seed,average_accuracy,backward_transfer" >"$csv"
for order in forth back; do
  for kind in sequential ewc olora replay; do
    for seed in $(seeds 2); do
      run=$order-$kind-$seed
      trained "$run" "$runs/$order.yaml" continual.kind="$kind" train.seed="$seed"
      echo "$order,$kind,$seed,$(of_run "$run" average_accuracy),$(of_run "$run" backward_transfer)" >>"$csv"
    done
  done
done
table 2 2 <"$csv"
