"""Writes tests/goldens/peft_methods.json: PEFT's methods on all-MiniLM-L6-v2, on every 37th row of the file, in order.

    python tests/goldens/write_peft_method_goldens.py .cache/models/minilm .cache/data/reviews.train.tsv

BertForSequenceClassification, labels negative = 0, positive = 1; target_modules "all-linear" (the pooler is one); no
dropout; f32; batches of 8 rows in order, texts cut to 48 tokens; torch's AdamW (weight decay 0.01), constant learning
rate 2e-4, no clipping, 20 updates. r = 6 (AdaLoRA: init_r = 12), alpha = 12.

Initial values are formula(name, shape, bound) of formula.h, name being the tensor's key in adapter_model.safetensors:
lora_A with bound 1/√in_features, lora_B 0.02, lora_E 0.5, classifier.weight 0.03, classifier.bias zero. PiSSA, OLoRA and
DoRA's magnitudes keep what PEFT starts them at. lora_plus is LoRA whose B learns 4 times as fast.

Of each method the file holds
    logits    of the first batch before the first update
    losses, grad_norms   one an update; AdaLoRA's loss includes its orthogonality penalty
    delta     of two modules, W' − W with W the weight of the model's file: Frobenius norm and 64 entries, every n-th of the
              row-major matrix from the first; before training (pissa, olora: after it)
and for adalora `masked`: which components of each module a formula keeps (formula("mask " + module, (12,), 1) > 0.2), and
the logits of the first batch with the others' E set to 0, all other values being the initial ones.
"""
import argparse
import json
import math
import pathlib

import peft
import torch
from formula import formula
from peft_training import batches, minilm, sampled, saved_name, train
from transformers import AutoTokenizer

METHODS = {
    "lora": dict(),
    "lora_plus": dict(),
    "rslora": dict(use_rslora=True),
    "dora": dict(use_dora=True),
    "pissa": dict(init_lora_weights="pissa"),
    "olora": dict(init_lora_weights="olora"),
    "adalora": None,
}
UPDATES, LR = 20, 2e-4
MODULES = ["bert.encoder.layer.0.attention.self.query", "bert.encoder.layer.5.output.dense"]


def bound_of(name, shape, method):
    if ".lora_" in name and method in ("pissa", "olora"):
        return None
    if ".lora_A" in name:
        return 1 / math.sqrt(shape[1])
    if ".lora_B" in name:
        return 0.02
    if ".lora_E" in name:
        return 0.5
    if name.endswith("classifier.weight"):
        return 0.03
    return 0.0 if name.endswith("classifier.bias") else None


def build(method, model_dir):
    base = minilm(model_dir)
    weights = {m: base.get_submodule(m).weight.detach().clone() for m in MODULES}
    common = dict(task_type="SEQ_CLS", lora_alpha=12, target_modules="all-linear", modules_to_save=["classifier"])
    if method == "adalora":
        config = peft.AdaLoraConfig(init_r=12, target_r=4, total_step=1000, orth_reg_weight=0.5, **common)
    else:
        config = peft.LoraConfig(r=6, **common, **METHODS[method])
    model = peft.get_peft_model(base, config)
    for name, p in model.named_parameters():
        bound = bound_of(saved_name(name), tuple(p.shape), method) if p.requires_grad else None
        if bound is not None:
            p.data = torch.tensor(formula(saved_name(name), tuple(p.shape), bound)).to(p.dtype)
    return model.train(), weights


def deltas(model, weights):
    out = {}
    for name, before in weights.items():
        layer = model.base_model.model.get_submodule(name)
        layer.merge(safe_merge=True)
        out[name] = sampled(layer.get_base_layer().weight.detach().double() - before.double())
        layer.unmerge()
    return out


def masked(model, first):
    kept = {}
    with torch.no_grad():
        for name, p in model.named_parameters():
            if ".lora_E" in name:
                module = saved_name(name).removeprefix("base_model.model.").removesuffix(".lora_E")
                keep = formula("mask " + module, (12,), 1) > 0.2
                p[~torch.tensor(keep)] = 0
                kept[module] = keep.tolist()
        return dict(kept=kept, logits=model(**first).logits.tolist())


def run(method, model_dir, data):
    model, weights = build(method, model_dir)
    params = {saved_name(n): p for n, p in model.named_parameters() if p.requires_grad}
    is_b = lambda n: ".lora_B" in n and method == "lora_plus"
    groups = [dict(params=[p for n, p in params.items() if not is_b(n)], lr=LR),
              dict(params=[p for n, p in params.items() if is_b(n)], lr=4 * LR)]
    with torch.no_grad():
        logits = model(**data[0]).logits.tolist()
    delta = None if method in ("pissa", "olora") else deltas(model, weights)
    out = dict(logits=logits) | train(model, groups, data)
    out["delta"] = delta or deltas(model, weights)
    if method == "adalora":
        out["masked"] = masked(build(method, model_dir)[0], data[0])
    return out


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("data")
    args = parser.parse_args()
    rows = [line.split("\t") for line in open(args.data, encoding="utf-8", newline="\n").read().split("\n")[1:-1:37]]
    data = list(batches(rows, AutoTokenizer.from_pretrained(args.model), UPDATES))
    result = {}
    for method in METHODS:
        result[method] = run(method, args.model, data)
        print(method, result[method]["losses"][0], "...", result[method]["losses"][-1])
    text = json.dumps(result, indent=None, separators=(",", ":")).replace('},"', '},\n"')
    pathlib.Path(__file__).with_name("peft_methods.json").write_text(text + "\n")


main()
