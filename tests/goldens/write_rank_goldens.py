"""Writes tests/goldens/peft_ranks.json: what PEFT's RankAllocator (AdaLoRA) keeps, and its budgets.

    python tests/goldens/write_rank_goldens.py

AdaLoRA with init_r = 6 on the queries and values of a BERT of two layers, 16 wide. Parameters are formula(key, shape, 1)
of formula.h, key as in adapter_model.safetensors; the gradients of update t are formula(f"{key} {t}", shape, 1). After
updates 1 to 8 (update_ipt) mask_to_budget(11) gives `kept`, by module. `budgets` are budget_schedule(t), t = 0 … 40, with
tinit = 5, tfinal = 10, total_step = 40, target_r = 2; `events` the t at which it masks.
"""
import json
import pathlib

import peft
import torch
from formula import formula
from transformers import BertConfig, BertModel

base = BertModel(BertConfig(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, vocab_size=50))
config = peft.AdaLoraConfig(init_r=6, target_r=2, tinit=5, tfinal=10, deltaT=4, total_step=40, target_modules=["query", "value"])
model = peft.get_peft_model(base, config)
allocator = model.base_model.rankallocator
params = {n.replace(".default", ""): p for n, p in model.named_parameters() if "lora_" in n}
for key, p in params.items():
    p.data = torch.tensor(formula(key, tuple(p.shape), 1)).float()
schedule = [allocator.budget_schedule(t) for t in range(41)]
for t in range(1, 9):
    for key, p in params.items():
        p.grad = torch.tensor(formula(f"{key} {t}", tuple(p.shape), 1)).float()
    allocator.update_ipt(model)
pattern = allocator.mask_to_budget(model, 11)
kept = {n.removeprefix("base_model.model.").removesuffix(".lora_E.default"): v for n, v in pattern.items()}
result = dict(kept=kept, budgets=[b for b, _ in schedule], events=[t for t, (_, masks) in enumerate(schedule) if masks])
pathlib.Path(__file__).with_name("peft_ranks.json").write_text(json.dumps(result, indent=1) + "\n")
