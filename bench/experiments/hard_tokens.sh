#!/usr/bin/env bash
# Do hard tokens use more experts? A mixture of eight LoRAs with top-p routing on every linear of SmolLM2-135M learns the text of the movie reviews.
# Then the tokens of held-out reviews are put in four quarters by the loss that the frozen model alone has at them, and the experts counted, mean over
# the layers: those of the token before, from which it was predicted, and those of the token itself, when it was read. Beside them, in the group, the
# correlation of a token's active experts with the entropy of its routers and with the frozen model's loss.
#
# usage: bench/experiments/hard_tokens.sh        (tools/fetch.sh smollm2 reviews; some minutes on two cores)
. "$(dirname "$0")/common.sh"
model=.cache/models/SmolLM2-135M-Instruct.Q4_1.gguf
head -n "$([ "${SHORT:-}" ] && echo 9 || echo 401)" .cache/data/reviews.valid.tsv >"$runs/held_out.tsv"
cat >"$runs/config.yaml" <<YAML
model: $model
task: causal_lm
data: {train: .cache/data/reviews.train.tsv, text: text, max_length: 64}
adapter: {kind: lora, rank: 4, experts: {count: 8, routing: top_p, top_p: 0.4}}
optimizer: {kind: adamw, lr: 1e-3}
schedule: {kind: linear, warmup: 0.06}
train: {epochs: null, steps: $(updates 60), batch_size: 16, eval_every: null, save_every: 10}
out: $runs
YAML

tokens_of() {  # tokens_of FILE [option…]: row,place,id,loss[,experts,entropy] of each held-out token, once
  local file=$runs/$1
  shift
  [ -e "$file" ] || "$mora" eval --model "$model" --data "$runs/held_out.tsv" --task causal_lm --tokens "$file" --quiet "$@" >/dev/null
  sed -E 's/"[a-z_]+"://g; s/[{}]//g' "$file"
}
quarters() {  # lines `loss,adapted loss,experts,entropy` on stdin → by quarter of the first, and of all
  sort -t, -g -k1,1 | awk -F, -v OFS=, -v kind="$1" '
    { for (i = 1; i <= 4; ++i) x[NR, i] = $i }
    function covariance(group, i, j) { return s[group, i, j] - s[group, i] * s[group, j] / n[group] }  # times n
    function correlation(group, i, j) {
      return covariance(group, i, j) / sqrt(covariance(group, i, i) * covariance(group, j, j))
    }
    function add(group, row, i, j) {
      ++n[group]
      for (i = 1; i <= 4; ++i) { s[group, i] += x[row, i]; for (j = 1; j <= 4; ++j) s[group, i, j] += x[row, i] * x[row, j] }
    }
    END {
      for (row = 1; row <= NR; ++row) { add(int((row - 1) * 4 / NR) + 1, row); add("all", row) }
      split("1 2 3 4 all", groups, " ")
      for (k = 1; k <= 5; ++k) {
        g = groups[k]
        print kind, g, n[g], s[g, 1] / n[g], s[g, 2] / n[g], s[g, 3] / n[g], s[g, 4] / n[g], correlation(g, 3, 4), correlation(g, 3, 1)
      }
    }'
}

trained mixture "$runs/config.yaml"
tokens_of frozen.jsonl >"$runs/frozen.csv"
tokens_of mixture.jsonl --adapter "$runs/mixture/adapter" >"$runs/mixture.csv"
paste -d, "$runs/frozen.csv" "$runs/mixture.csv" | awk -F, '$3 != $7 { exit 1 } { print }' >"$runs/both.csv" || fail "the two runs saw other tokens"
echo "experts_of,quarter,tokens,frozen_loss,adapted_loss,active_experts,router_entropy,r_experts_entropy,r_experts_frozen_loss" >"$csv"
awk -F, -v OFS=, '{ print $4, $8, $9, $10 }' "$runs/both.csv" | quarters "the token before" >>"$csv"
awk -F, -v OFS=, 'row == $1 { print loss, adapted, $9, $10 } { row = $1; loss = $4; adapted = $8 }' "$runs/both.csv" | quarters "the token" >>"$csv"
table 3 6 <"$csv"
