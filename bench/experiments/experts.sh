#!/usr/bin/env bash
# One MoRA against mixtures of small ones at the nearest equal number of trained parameters, routers included, with adaptive steps and without, on four
# domains of sentiment at once: accuracy by domain, experts and steps a token, the busiest expert by its fair share, speed. MiniLM, 100 updates of
# 32 rows, three seeds. `unbalanced` is top-2 without the balance loss.
#
# usage: bench/experiments/experts.sh        (tools/fetch.sh minilm reviews products tweets editorials; about an hour on two cores)
. "$(dirname "$0")/common.sh"
domains=(reviews products tweets editorials)
files=$(printf '.cache/data/%s.train.tsv, ' "${domains[@]}")
cat >"$runs/config.yaml" <<YAML
model: .cache/models/minilm
task: classification
head: {pooling: mean}
data: {train: [${files%, }], max_length: 64}
adapter: {kind: mora, operator: sharing}
optimizer: {kind: adamw, lr: 1e-3}
schedule: {kind: linear, warmup: 0.06}
train: {epochs: null, steps: $(updates 100), batch_size: 32, eval_every: null, save_every: null}
out: $runs
YAML

settings_of() {  # settings_of ADAPTER: the rank at which 8 experts and a router, or 10 in a tree, have the parameters of one MoRA of rank 36
  case $1 in
    mora) echo adapter.rank=36 ;;
    top-2) echo adapter.rank=4 adapter.experts.count=8 ;;
    unbalanced) echo adapter.rank=4 adapter.experts.count=8 adapter.experts.balance=0 ;;
    top-p) echo adapter.rank=4 adapter.experts.count=8 adapter.experts.routing=top_p ;;
    threshold) echo adapter.rank=4 adapter.experts.count=8 adapter.experts.routing=threshold ;;
    tree) echo adapter.rank=3 "adapter.experts.hierarchy=[2,4]" ;;
  esac
}
accuracy_on() {  # accuracy_on RUN DOMAIN: measured once
  local result=$runs/$1/$2.json
  [ -e "$result" ] || "$mora" eval --model .cache/models/minilm --adapter "$runs/$1/adapter" --data ".cache/data/$2.valid.tsv" --task classification \
    --json --quiet | tail -n 1 >"$result"
  field accuracy <"$result"
}
last_of() { tail -n 1 "$runs/$1/metrics.jsonl" | field "$2" | grep . || echo 1; }  # of the last update; one expert, one step

echo "adapter,steps,parameters,seed,reviews,products,tweets,editorials,active_experts,expert_load_max,act_steps,tokens_per_second" >"$csv"
for adapter in mora top-2 unbalanced top-p threshold tree; do
  for steps in one adaptive; do
    read -ra settings <<<"$(settings_of "$adapter")"
    [ $steps = adaptive ] && settings+=(adapter.act.max_steps=4)
    for seed in $(seeds 3); do
      run=$adapter-$steps-$seed
      trained "$run" "$runs/config.yaml" "${settings[@]}" train.seed="$seed"
      accuracies=$(for domain in "${domains[@]}"; do printf '%s,' "$(accuracy_on "$run" "$domain")"; done)
      echo "$adapter,$steps,$(of_run "$run" trainable_parameters),$seed,$accuracies$(last_of "$run" active_experts),$(last_of "$run" expert_load_max),$(
        last_of "$run" act_steps),$(of_run "$run" tokens_per_second)" >>"$csv"
    done
  done
done
table 3 8 <"$csv"
