#!/usr/bin/env python3
"""Writes peft_dora/ and peft_adalora/: adapters of tiny random models as PEFT saves them, without the model card.

peft_dora: BERT, DoRA, rank_pattern and alpha_pattern on the queries, a classifier trained whole. peft_adalora: GPT-2, one
of four ranks masked away. Tensors are 0.01 · their flat index + 1, so that their values need no second file.

Needs: pip install peft transformers torch. Run here: python write_peft_format_goldens.py
"""
import pathlib

import torch
from peft import AdaLoraConfig, LoraConfig, TaskType, get_peft_model
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, BertConfig, GPT2Config


def save(model, config, directory):
    model = get_peft_model(model, config)
    for name, p in model.named_parameters():
        if "lora_" in name or "modules_to_save" in name:
            p.data = torch.arange(p.numel(), dtype=torch.float32).reshape(p.shape) * 0.01 + 1
    if config.peft_type == "ADALORA":
        config.rank_pattern = {"transformer.h.0.attn.c_attn.lora_E": [True, True, False, True]}
    model.save_pretrained(directory)
    (pathlib.Path(directory) / "README.md").unlink()


bert = BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, vocab_size=50)
save(AutoModelForSequenceClassification.from_config(bert),
     LoraConfig(r=4, lora_alpha=8, target_modules=["query", "value"], task_type=TaskType.SEQ_CLS, use_dora=True,
                rank_pattern={"query": 2}, alpha_pattern={"query": 3}), "peft_dora")
gpt2 = GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=50, bos_token_id=1, eos_token_id=2)
save(AutoModelForCausalLM.from_config(gpt2),
     AdaLoraConfig(init_r=4, target_r=2, total_step=100, lora_alpha=32, target_modules=["c_attn"], fan_in_fan_out=True,
                   task_type=TaskType.CAUSAL_LM), "peft_adalora")
