"""Writes tests/goldens/minilm.safetensors: what transformers computes in f32 with all-MiniLM-L6-v2 on 200 movie reviews.

    python tests/goldens/write_minilm_goldens.py .cache/models/minilm .cache/data/reviews.valid.tsv

The sentences are the first 200 of the data file (tools/fetch.sh). Tensors, N real tokens in all:
    ids        i32 (N)        with [CLS] and [SEP], sentence after sentence
    offsets    i32 (201)      sentence s is ids[offsets[s] : offsets[s + 1]]
    mean, cls  f32 (200, 384) the mean over a sentence's tokens of the last hidden state; its first row
    projected  f32 (N, 4)     last hidden state · P, P (384, 4) = formula("projection", bound 0.05): covers every token
    hidden.S   f32 (T, 384)   the last hidden state in full for the sentences S of FULL
    long.ids, long.projected  the same of the first 20 sentences joined by spaces, cut to 256 tokens
"""
import pathlib
import sys

import numpy as np
import torch
from formula import formula
from safetensors.numpy import save_file
from transformers import AutoModel, AutoTokenizer

FULL = [64, 90, 6, 179, 38]  # 6 to 55 tokens


def main():
    model_dir, data = sys.argv[1:]
    sentences = [row.split("\t")[0] for row in open(data, encoding="utf-8", newline="\n").read().split("\n")[1:201]]
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    model = AutoModel.from_pretrained(model_dir, dtype=torch.float32, attn_implementation="eager").eval()
    projection = formula("projection", (384, 4), 0.05)
    ids, hidden = [], []
    with torch.no_grad():
        for sentence in sentences + [" ".join(sentences[:20])]:
            tokens = tokenizer(sentence, truncation=True, max_length=256, return_tensors="pt")
            ids.append(tokens["input_ids"][0].numpy().astype(np.int32))
            hidden.append(model(**tokens).last_hidden_state[0].numpy())
    long_ids, long_hidden = ids.pop(), hidden.pop()
    out = {
        "ids": np.concatenate(ids),
        "offsets": np.cumsum([0] + [len(i) for i in ids]).astype(np.int32),
        "mean": np.stack([h.mean(0, dtype=np.float64) for h in hidden]).astype(np.float32),
        "cls": np.stack([h[0] for h in hidden]),
        "projected": np.concatenate([h.astype(np.float64) @ projection for h in hidden]).astype(np.float32),
        "long.ids": long_ids,
        "long.projected": (long_hidden.astype(np.float64) @ projection).astype(np.float32),
    } | {f"hidden.{s}": hidden[s] for s in FULL}
    path = pathlib.Path(__file__).with_name("minilm.safetensors")
    save_file(out, path)
    print("tokens", out["offsets"][-1], "long", len(long_ids), "bytes", path.stat().st_size)


main()
