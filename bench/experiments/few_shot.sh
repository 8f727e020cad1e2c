#!/usr/bin/env bash
# Does a meta-trained start learn a new task from 8 examples a class better than a fresh adapter does? A task is a domain of sentiment and an order of its
# two labels. Three domains are meta-trained on, with the labels in random order (first-order MAML, 60 updates); the fourth, movie reviews, is new. 20 draws of 8 examples a class
# of it, every second with its labels exchanged: `mora adapt` from the meta-trained start, and `mora train` from a fresh adapter, with the better of three
# learning rates by the mean over all draws (which favours it). MiniLM, MoRA r = 4; accuracy on the new domain's validation rows.
#
# usage: bench/experiments/few_shot.sh        (tools/fetch.sh minilm reviews products tweets editorials; about 20 minutes on two cores)
. "$(dirname "$0")/common.sh"
model=.cache/models/minilm
domains=(reviews products tweets editorials)
draws=$([ "${SHORT:-}" ] && echo 1 || echo 20)
rates=$([ "${SHORT:-}" ] && echo 1e-3 || echo 3e-4 1e-3 3e-3)

exchange() { awk -F'\t' -v OFS='\t' 'NR > 1 { $2 = $2 == "positive" ? "negative" : "positive" } { print }'; }

# draw DOMAIN NUMBER: 8 rows of each label, and the rows to be judged by, in the label order of this draw.
draw() {
  local examples=$runs/$1-$2.examples.tsv valid=$runs/$1-$2.valid.tsv order=cat
  [ $(($2 % 2)) -eq 0 ] || order=exchange
  awk -F'\t' -v seed="$2" 'BEGIN { srand(seed + 1) } NR == 1 { print "0\t" $0; next } { print rand() + 1 "\t" $0 }' ".cache/data/$1.train.tsv" |
    sort -g | cut -f2- | awk -F'\t' 'NR == 1 || n[$2]++ < 8' | $order >"$examples"
  $order <".cache/data/$1.valid.tsv" >"$valid"
}

# judged RUN DOMAIN NUMBER: the accuracy of $runs/RUN/adapter.
judged() {
  [ -e "$runs/$1/eval.json" ] ||
    "$mora" eval --model "$model" --adapter "$runs/$1/adapter" --data "$runs/$2-$3.valid.tsv" --task classification --quiet --json |
    tail -n 1 >"$runs/$1/eval.json"
  field accuracy <"$runs/$1/eval.json"
}

config() {  # config NEW: meta-training on the other domains
  printf 'model: %s\ntask: classification\nhead: {pooling: mean}\ntasks:\n' "$model"
  local domain
  for domain in "${domains[@]}"; do
    [ "$domain" = "$1" ] || printf '  - {name: %s, data: {train: .cache/data/%s.train.tsv, max_length: 64}}\n' "$domain" "$domain"
  done
  cat <<YAML
meta: {kind: fomaml, inner_lr: 0.1, inner_steps: 5, shots: 8, queries: 8, tasks_per_step: 4, permute_labels: true}
adapter: {kind: mora, rank: 4}
optimizer: {kind: adamw, lr: 1e-3}
train: {epochs: null, steps: $(updates 60), precision: bf16}
out: $runs/meta-$1
YAML
}

fresh() {  # fresh DOMAIN NUMBER: the configuration of a fresh adapter on the same examples
  cat <<YAML
model: $model
task: classification
head: {pooling: mean}
data: {train: $runs/$1-$2.examples.tsv, max_length: 64}
adapter: {kind: mora, rank: 4}
optimizer: {kind: adamw, lr: 1e-3}
schedule: {kind: linear, warmup: 0.06}
train: {epochs: null, steps: $(updates 30), batch_size: 16, precision: bf16, eval_every: null, save_every: null}
YAML
}

echo "start,lr,draw,accuracy" >"$csv"
new=reviews
if [ ! -e "$runs/meta-$new/adapter" ]; then
  config "$new" >"$runs/$new.yaml"
  note "== $name: meta-training without $new"
  "$mora" meta-train "$runs/$new.yaml" --quiet >/dev/null
fi
for ((i = 0; i < draws; ++i)); do
  draw "$new" "$i"
  run=$new-meta-$i
  [ -e "$runs/$run/adapter" ] ||
    "$mora" adapt --meta "$runs/meta-$new" --data "$runs/$new-$i.examples.tsv" --max-length 64 --out "$runs/$run" --quiet >/dev/null
  echo "meta-trained,0.1,$i,$(judged "$run" "$new" "$i")" >>"$csv"
  fresh "$new" "$i" >"$runs/$new-$i.yaml"
  for rate in $rates; do
    run=$new-fresh-$rate-$i
    trained "$run" "$runs/$new-$i.yaml" optimizer.lr="$rate" train.seed="$i"
    echo "fresh,$rate,$i,$(judged "$run" "$new" "$i")" >>"$csv"
  done
done
table 2 1 <"$csv"
