"""Writes tests/goldens/peft_embeddings.json: PEFT's LoRA on embeddings, of all-MiniLM-L6-v2 and of SmolLM2, whose head is tied.

    python tests/goldens/write_peft_embedding_goldens.py .cache/models/minilm SMOLLM2 .cache/data/reviews.train.tsv

SMOLLM2 is a Hugging Face directory with the weights of .cache/models/SmolLM2-135M-Instruct.Q4_1.gguf, dequantised.
No dropout; f32; 20 updates of rows in the file's order; torch's AdamW (weight decay 0.01), constant learning rate 2e-4, no
clipping.

    lora, rslora, lora_plus   BertForSequenceClassification, labels negative = 0, positive = 1; r = 6, alpha = 12 on
                              word_embeddings, position_embeddings and query; every 37th row, 8 a batch, texts cut to 48 tokens.
                              lora_plus: lora_B learns 4 times as fast, both matrices of an embedding at 1e-3 (loraplus_lr_embedding)
    tied                      LlamaForCausalLM; r = 4, alpha = 8 on embed_tokens and q_proj; 4 rows a batch, each
                              `text + <|im_end|>` cut to 64 tokens, mean loss over all but each text's first

Initial values are formula(name, shape, bound) of formula.h, name being the tensor's key in adapter_model.safetensors: lora_A
with bound 1/√in_features, lora_B 0.02, lora_embedding_A 0.02 (the transpose of the formula's (rows, r)), lora_embedding_B 0.5,
classifier.weight 0.03, classifier.bias zero.

Of each case the file holds
    logits    before the first update: of the first batch; tied: of the first text's last token, every 1024-th entry
    losses, grad_norms   one an update
    delta     of the embeddings, W' − W before training: Frobenius norm and 64 entries, every step-th of the row-major (rows, d)
"""
import json
import math
import pathlib
import sys

import peft
import torch
from formula import formula
from peft_training import batches, minilm, sampled, saved_name, train
from transformers import AutoModelForCausalLM, AutoTokenizer

UPDATES, LR, EMBEDDING_LR = 20, 2e-4, 1e-3
CASES = {"lora": dict(), "rslora": dict(use_rslora=True), "lora_plus": dict()}


def initial(name, shape):
    if name.endswith(".lora_embedding_A"):
        return formula(name, shape[::-1], 0.02).T.copy()
    bounds = {".lora_A.weight": 1 / math.sqrt(shape[-1]), ".lora_B.weight": 0.02, ".lora_embedding_B": 0.5,
              ".classifier.weight": 0.03, ".classifier.bias": 0.0}
    return formula(name, shape, next(bound for suffix, bound in bounds.items() if name.endswith(suffix)))


def adapted(base, config):
    model = peft.get_peft_model(base, config)
    for name, p in model.named_parameters():
        if p.requires_grad:
            p.data = torch.tensor(initial(saved_name(name), tuple(p.shape))).to(p.dtype)
    return model.train()


def deltas(model):
    out = {}
    for name, module in model.base_model.model.named_modules():
        if isinstance(module, peft.tuners.lora.layer.Embedding):
            out[name] = sampled(module.get_delta_weight("default").detach().double())
    return out


def groups(model, lora_plus=False):
    result = [dict(params=[], lr=LR), dict(params=[], lr=4 * LR), dict(params=[], lr=EMBEDDING_LR)]
    for name, p in model.named_parameters():
        if p.requires_grad:
            group = 0 if not lora_plus else 2 if ".lora_embedding_" in name else 1 if ".lora_B" in name else 0
            result[group]["params"].append(p)
    return result


def encoder(model_dir, rows):
    data = list(batches(rows[::37], AutoTokenizer.from_pretrained(model_dir), UPDATES))
    result = {}
    for case, options in CASES.items():
        config = peft.LoraConfig(task_type="SEQ_CLS", r=6, lora_alpha=12, modules_to_save=["classifier"],
                                 target_modules=["word_embeddings", "position_embeddings", "query"], **options)
        model = adapted(minilm(model_dir), config)
        with torch.no_grad():
            logits = model(**data[0]).logits.tolist()
        result[case] = dict(logits=logits, delta=deltas(model)) | train(model, groups(model, case == "lora_plus"), data)
    return result


def decoder(model_dir, rows):
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    base = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32, attn_implementation="eager")
    model = adapted(base, peft.LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules=["embed_tokens", "q_proj"]))
    assert base.lm_head.weight is base.model.embed_tokens.base_layer.weight
    data = []
    for update in range(UPDATES):
        ids = [(tokenizer(row[0])["input_ids"] + [tokenizer.eos_token_id])[:64] for row in rows[update * 4:(update + 1) * 4]]
        width = max(map(len, ids))
        batch = torch.tensor([i + [0] * (width - len(i)) for i in ids])
        mask = torch.tensor([[1] * len(i) + [0] * (width - len(i)) for i in ids])
        data.append(dict(input_ids=batch, attention_mask=mask, labels=batch.masked_fill(mask == 0, -100)))
    with torch.no_grad():
        last = int(data[0]["attention_mask"][0].sum()) - 1
        logits = model(input_ids=data[0]["input_ids"][:1, :last + 1]).logits[0, -1, ::1024].tolist()
    return dict(logits=logits, delta=deltas(model)) | train(model, groups(model), data)


def main():
    encoder_dir, decoder_dir, data = sys.argv[1:]
    rows = [line.split("\t") for line in open(data, encoding="utf-8", newline="\n").read().split("\n")[1:-1]]
    result = encoder(encoder_dir, rows) | {"tied": decoder(decoder_dir, rows)}
    for case, values in result.items():
        print(case, values["losses"][0], "...", values["losses"][-1])
    text = json.dumps(result, indent=None, separators=(",", ":")).replace('},"', '},\n"')
    pathlib.Path(__file__).with_name("peft_embeddings.json").write_text(text + "\n")


main()
