#!/usr/bin/env bash
# How fast is a step of training, beside PyTorch + PEFT on the same rows? Real tokens a second (median of the updates but the first three) and the peak of
# memory. The peers are the settings that were found fastest from outside: grouped by length, no dropout, MKL told that it is on Intel, tcmalloc, and for
# SmolLM2 in bf16 compiled; "ordinary" is what a script of transformers does. MiniLM classifies by BERT's pooler, as transformers has it; two rows by the
# mean of all tokens. Then what MoRA's adapters, a second thread and larger batches cost.
#
# usage: [PEERS=DIR] bench/experiments/training.sh   (tools/fetch.sh minilm smollm2 reviews; PEERS: what shared/peers/setup.sh made, for the peers' rows;
#                                                     ROUNDS, 2, times everything in turn: seven idle minutes each, with the peers)
. "$(dirname "$0")/common.sh"
scripts=${PEER_SCRIPTS:-$root/../shared/peers}
reviews=$root/.cache/data/reviews.train.tsv
rounds=${ROUNDS:-2} batches=(8 32 128 512)
[ -z "${SHORT:-}" ] || rounds=1 batches=(8)

# rows LENGTH: reviews joined to rows of at least LENGTH characters, labelled in turn.
rows() {
  awk -F'\t' -v length_="$1" 'NR == 1 { for (i = 1; i <= NF; ++i) if ($i == "text") c = i; print "text\tlabel"; next }
    { s = s " " $c } length(s) > length_ { print substr(s, 2) "\t" (++n % 2 ? "a" : "b"); s = "" }' "$reviews"
}
rows 3200 >"$runs/long.tsv"
rows 850 >"$runs/short.tsv"
cat >"$runs/minilm.yaml" <<YAML
model: .cache/models/minilm
task: classification
data: {train: $reviews, max_length: 256}
head: {pooling: pooler}
adapter: {kind: lora, rank: 8, alpha: 16}
optimizer: {lr: 2e-4}
train: {epochs: null, steps: $(updates 100), batch_size: 32, eval_every: null, save_every: null}
out: $runs
YAML
cat >"$runs/smollm2.yaml" <<YAML
model: .cache/models/SmolLM2-135M-Instruct.Q4_1.gguf
task: causal_lm
data: {train: $runs/long.tsv, text: text, label: null, max_length: 512, append_eos: false}
adapter: {kind: lora, rank: 16, alpha: 32}
optimizer: {lr: 2e-4}
train: {epochs: null, steps: $(updates 9), batch_size: 4, eval_every: null, save_every: null}
out: $runs
YAML

# ours WORK CONFIG [option…]: a line of the CSV.
ours() {
  local work=$1 run=${1//[^A-Za-z0-9]/_}.$round
  shift
  trained "$run" "$runs/$@"
  local speed=$(sed -nE 's/.*"loss".*"tokens_per_second":([0-9.e+]+).*/\1/p' "$runs/$run/metrics.jsonl" | tail -n +"$(updates 4)" | median)
  echo "$work,mora,${speed%.*},$(($(of_run "$run" peak_memory_bytes) >> 20))" >>"$csv"
}

# peer WORK NAME plain|expert TASK [option…]: the same, of bench_train.py.
peer() {
  [ "${PEERS:-}" ] || return 0
  local work=$1 name=$2 kind=$3 task=$4 run=$runs/${1//[^A-Za-z0-9]/_}.$2.$round.json preload=
  shift 4
  [ $kind = expert ] && preload="$PEERS/bin/libmkl_intel_shim.so $(ls /usr/lib/*/libtcmalloc_minimal.so.4)"
  [ -e "$run" ] || {
    note "== $name: $work"
    env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE LD_PRELOAD="$preload" "$PEERS/v/bin/python" "$scripts/bench_train.py" "$task" "$PEERS/models/$task" \
      "$PEERS"/data/*/movieReviewSnippets_GroundTruth.txt "$@" 2>/dev/null | tail -n 1 >"$run.new" && mv "$run.new" "$run"
  }
  echo "$work,$name,$(field tok_s <"$run"),$(field peak_rss_mib <"$run")" >>"$csv"
}

echo "work,program,tokens_per_second,peak_mib" >"$csv"
for round in $(seq "$rounds"); do
  for precision in f32 bf16; do
    if [ $precision = f32 ]; then minilm=(--mode f32) smollm2=(--mode f32); else minilm=(--mode autocast) smollm2=(--mode bf16 --compile); fi
    for batch in 32 8; do
      peer "MiniLM $batch rows $precision" expert expert minilm --batch $batch "${minilm[@]}" --group --dropout 0 --steps 60
      ours "MiniLM $batch rows $precision" minilm.yaml train.batch_size=$batch train.precision=$precision
    done
    for batch in 4 1; do
      peer "SmolLM2 $batch x 512 $precision" expert expert smollm2 --batch $batch "${smollm2[@]}" --steps 6
      ours "SmolLM2 $batch x 512 $precision" smollm2.yaml train.batch_size=$batch train.precision=$precision
    done
  done
  for batch in 32 8; do ours "MiniLM $batch rows f32 mean of tokens" minilm.yaml train.batch_size=$batch head.pooling=mean; done
  peer "MiniLM 8 rows f32" ungrouped expert minilm --batch 8 --mode f32 --dropout 0 --steps 60
  peer "MiniLM 32 rows f32" ordinary plain minilm --batch 32 --mode f32 --steps 20
  for model in minilm smollm2; do
    ours "$model LoRA rank 8" $model.yaml adapter.rank=8
    ours "$model MoRA sharing" $model.yaml adapter.kind=mora adapter.operator=sharing adapter.rank=8
    ours "$model MoRA rotation" $model.yaml adapter.kind=mora adapter.operator=rotation adapter.rank=8
    ours "$model one LoRA" $model.yaml adapter.rank=8 adapter.targets='.*layers?\.0\..*(query|q_proj)'
    ours "$model one thread" $model.yaml adapter.rank=8 --threads 1
  done
  ours "smollm2 two threads bf16" smollm2.yaml train.precision=bf16
  ours "smollm2 one thread bf16" smollm2.yaml train.precision=bf16 --threads 1
  for batch in "${batches[@]}"; do
    ours "MiniLM $batch x 128" minilm.yaml data.train="$runs/short.tsv" data.max_length=128 train.batch_size=$batch train.steps="$(updates $((4 + 200 / batch)))"
  done
done
table 2 2 <"$csv"
