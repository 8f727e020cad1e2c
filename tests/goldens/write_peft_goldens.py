"""Writes tests/goldens/peft_minilm.json: training losses of PEFT's LoRA on all-MiniLM-L6-v2, everything in file order.

    python tests/goldens/write_peft_goldens.py .cache/models/minilm .cache/data/reviews.train.tsv [--adapters DIR]

LoRA r = 8, alpha = 16, no dropout anywhere, f32, batches of 32 rows in the file's order, texts cut to 256 tokens,
torch's AdamW (betas 0.9, 0.999; eps 1e-8) with one group: every trainable tensor has weight decay 0.01.
The cases differ in head, targets, clipping and schedule:

    pooler      BertForSequenceClassification, labels negative = 0, positive = 1; target_modules "all-linear", which takes
                the pooler in; lr 2e-4, constant; no clipping
    mean        the same without the pooler: classifier(mean over a text's tokens); so only the blocks' linears; lr 1e-3,
                Hugging Face's linear schedule with 5 of 50 updates of warm-up; gradients clipped to norm 1
    regression  as pooler, one output, labels are the file's `rating`, mean squared error

Initial values are formula(name, shape, bound) of formula.h, name being the tensor's key in adapter_model.safetensors:
lora_A with bound 1/√in_features, lora_B zero, classifier.weight with bound 0.03, classifier.bias zero.
--adapters DIR also writes DIR/CASE, the PEFT directory before the first update (pooler, regression).

Of each case the file holds `losses`, `tokens` (real ones), `grad_norms` (before clipping) and `lrs`, one an update, and
`grads`: the norm of each tensor's gradient at the updates 0 and 1 (lora_A has none at update 0, as lora_B is zero).
"""
import argparse
import json
import math
import pathlib

import peft
import torch
import transformers
from formula import formula
from transformers import AutoTokenizer, BertForSequenceClassification, get_linear_schedule_with_warmup

CASES = {
    "pooler": dict(updates=50, lr=2e-4, clip=None, warmup=None),
    "mean": dict(updates=50, lr=1e-3, clip=1.0, warmup=5),
    "regression": dict(updates=10, lr=2e-4, clip=None, warmup=None),
}
BATCH = 32


class MeanPooled(BertForSequenceClassification):
    def __init__(self, config):
        super().__init__(config)
        self.bert.pooler = None

    def forward(self, input_ids, attention_mask, labels, **_):
        hidden = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
        logits = self.classifier((hidden * mask).sum(1) / mask.sum(1))
        loss = torch.nn.functional.cross_entropy(logits, labels)
        return transformers.modeling_outputs.SequenceClassifierOutput(loss=loss, logits=logits)


def saved_name(name):
    return name.replace(".modules_to_save", "").replace(".default", "")


def initialise(model):
    for name, p in model.named_parameters():
        if p.requires_grad:
            name = saved_name(name)
            bound = 1 / math.sqrt(p.shape[1]) if ".lora_A." in name else 0.03 if name.endswith("classifier.weight") else 0.0
            p.data = torch.tensor(formula(name, tuple(p.shape), bound)).to(p.dtype)


def build(case, model_dir):
    options = dict(num_labels=1 if case == "regression" else 2, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    if case != "regression":
        options |= dict(id2label={0: "negative", 1: "positive"}, label2id={"negative": 0, "positive": 1})
    kind = MeanPooled if case == "mean" else BertForSequenceClassification
    base = kind.from_pretrained(model_dir, dtype=torch.float32, attn_implementation="eager", **options)
    config = peft.LoraConfig(task_type="SEQ_CLS", r=8, lora_alpha=16, target_modules="all-linear", modules_to_save=["classifier"])
    model = peft.get_peft_model(base, config)
    initialise(model)
    return model.train()


def train(case, model, rows, tokenizer):
    settings = CASES[case]
    params = {saved_name(n): p for n, p in model.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(params.values(), lr=settings["lr"])
    scale = get_linear_schedule_with_warmup(optimizer, settings["warmup"], settings["updates"]) if settings["warmup"] else None
    out = dict(losses=[], tokens=[], grad_norms=[], lrs=[], grads=[])
    for update in range(settings["updates"]):
        texts, labels, ratings = zip(*rows[update * BATCH:(update + 1) * BATCH])
        batch = tokenizer(list(texts), truncation=True, max_length=256, padding=True, return_tensors="pt")
        y = torch.tensor([float(r) for r in ratings]) if case == "regression" else torch.tensor([int(l == "positive") for l in labels])
        optimizer.zero_grad()
        loss = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=y).loss
        loss.backward()
        if update < 2:
            out["grads"].append({n: p.grad.norm().item() for n, p in sorted(params.items())})
        norm = torch.nn.utils.clip_grad_norm_(params.values(), settings["clip"] or math.inf)
        out["losses"].append(loss.item())
        out["tokens"].append(int(batch["attention_mask"].sum()))
        out["grad_norms"].append(norm.item())
        out["lrs"].append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if scale:
            scale.step()
    return settings | out


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--adapters", type=pathlib.Path)
    args = parser.parse_args()
    rows = [line.split("\t") for line in open(args.data, encoding="utf-8", newline="\n").read().split("\n")[1:-1]]
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    result = {}
    for case in CASES:
        model = build(case, args.model)
        if args.adapters and case != "mean":
            model.save_pretrained(args.adapters / case)
        result[case] = train(case, model, rows, tokenizer)
        print(case, result[case]["losses"][0], "...", result[case]["losses"][-1])
    pathlib.Path(__file__).with_name("peft_minilm.json").write_text(json.dumps(result, indent=1) + "\n")


main()
