#!/usr/bin/env bash
# One MoRA against mixtures of small ones at the nearest equal number of trained parameters, routers included, with adaptive steps and without, on four
# domains of sentiment at once: accuracy by domain; over 100 rows of each: experts and steps a token, the idlest and the busiest expert of any layer
# by its fair share; speed. MiniLM, 60 updates of 32 rows, three seeds. `balanced` is top-2 with five times the balance loss, `unbalanced` is without.
#
# usage: bench/experiments/experts.sh        (tools/fetch.sh minilm reviews products tweets editorials; about half an hour on two cores)
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
train: {epochs: null, steps: $(updates 60), batch_size: 32, eval_every: null, save_every: null}
out: $runs
YAML

settings_of() {  # settings_of ADAPTER: the rank at which 8 experts and a router, or 10 in a tree, have the parameters of one MoRA of rank 36
  case $1 in
    mora) echo adapter.rank=36 ;;
    top-2) echo adapter.rank=4 adapter.experts.count=8 ;;
    balanced) echo adapter.rank=4 adapter.experts.count=8 adapter.experts.balance=0.05 ;;
    unbalanced) echo adapter.rank=4 adapter.experts.count=8 adapter.experts.balance=0 ;;
    top-p) echo adapter.rank=4 adapter.experts.count=8 adapter.experts.routing=top_p ;;
    threshold) echo adapter.rank=4 adapter.experts.count=8 adapter.experts.routing=threshold ;;
    tree) echo adapter.rank=3 "adapter.experts.hierarchy=[2,4]" ;;
  esac
}
# evaluated RUN FILE NAME: what `mora eval` says of it, measured once, is $runs/RUN/NAME.json
evaluated() {
  local result=$runs/$1/$3.json
  [ -e "$result" ] || "$mora" eval --model .cache/models/minilm --adapter "$runs/$1/adapter" --data "$2" --task classification --json --quiet |
    tail -n 1 >"$result.part"
  [ -e "$result" ] || mv "$result.part" "$result"
}
of_mixed() { field "$2" <"$runs/$1/mixed.json" | grep . || echo 1; }  # over the rows of all domains; one expert, one step

for domain in "${domains[@]}"; do head -n 101 ".cache/data/$domain.valid.tsv" | tail -n +2; done |
  cat <(head -n 1 .cache/data/reviews.valid.tsv) - >"$runs/mixed.tsv"
of_adapter() {  # of_adapter ADAPTER STEPS: its settings, in the array `settings`
  read -ra settings <<<"$(settings_of "$1")"
  if [ "$2" = adaptive ]; then settings+=(adapter.act.max_steps=4); fi
}
adapters="mora top-2 balanced unbalanced top-p threshold tree"
[ "${SHORT:-}" ] && adapters="mora top-p tree"

for seed in $(seeds 3); do  # a seed of every adapter before the next: stopped early, it has compared all
  for adapter in $adapters; do
    for steps in one adaptive; do
      of_adapter "$adapter" $steps
      run=$adapter-$steps-$seed
      trained "$run" "$runs/config.yaml" "${settings[@]}" train.seed="$seed"
      for domain in "${domains[@]}"; do evaluated "$run" "$(validation_of "$domain")" "$domain"; done
      evaluated "$run" "$runs/mixed.tsv" mixed
    done
  done
done

echo "adapter,steps,parameters,seed,reviews,products,tweets,editorials,active_experts,expert_load_min,expert_load_max,act_steps,tokens_per_second" >"$csv"
for adapter in $adapters; do
  for steps in one adaptive; do
    of_adapter "$adapter" $steps
    trained "speed-$adapter-$steps" "$runs/config.yaml" "${settings[@]}" train.steps="$(updates 12)"  # together, so that they compare
    for seed in $(seeds 3); do
      run=$adapter-$steps-$seed
      accuracies=$(for domain in "${domains[@]}"; do printf '%s,' "$(field accuracy <"$runs/$run/$domain.json")"; done)
      echo "$adapter,$steps,$(of_run "$run" trainable_parameters),$seed,$accuracies$(of_mixed "$run" active_experts),$(
        of_mixed "$run" expert_load_min),$(of_mixed "$run" expert_load_max),$(of_mixed "$run" act_steps),$(
        of_run "speed-$adapter-$steps" tokens_per_second)" >>"$csv"
    done
  done
done
table 3 9 <"$csv"
