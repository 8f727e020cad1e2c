"""Writes tests/goldens/smollm2.safetensors, smollm2_generation.json and peft_smollm2.json: SmolLM2-135M-Instruct in f32.

    python tests/goldens/write_smollm2_goldens.py MODEL .cache/data/editorials.valid.tsv .cache/data/reviews.train.tsv

MODEL is a Hugging Face directory with the weights of .cache/models/SmolLM2-135M-Instruct.Q4_1.gguf, dequantised.

smollm2.safetensors, logits on 20 texts: consecutive sentences of the editorials, joined by spaces and cut to LENGTHS[k] tokens.
    fixed        i32 (64)      token ids asked for everywhere
    ids.K        i32 (T)
    logsumexp.K  f32 (T)       of each position's logits
    positions.K  i32 (8)       spread from the first token to the last; the rows of what follows
    top_ids.K    i32 (8, 32)   the 32 largest logits' ids, largest first, and the logits
    top.K        f32 (8, 32)
    at_fixed.K   f32 (8, 64)   the logits at `fixed`
smollm2_generation.json, 20 chats: {prompt, prompt_ids, ids, gaps}: the chat template's ids with the generation prompt; greedy
tokens, at most 64, the end-of-turn token included; the best logit minus the second at each.
peft_smollm2.json, 20 losses of PEFT's LoRA as in write_peft_goldens.py: r = 8, alpha = 16, "all-linear", the reviews in file order,
8 a batch, each `text + <|im_end|>` cut to 128 tokens, mean loss over the labelled tokens (all but each text's first); AdamW,
lr 2e-4 constant, weight decay 0.01, no clipping. Initial lora_A: formula(key, bound 1/√in_features); lora_B zero.
"""
import json
import pathlib
import sys

import numpy as np
import peft
import torch
from formula import formula
from safetensors.numpy import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

LENGTHS = [1, 2, 7, 16, 23, 32, 48, 64, 65, 96, 127, 128, 160, 200, 256, 300, 384, 447, 511, 512]
PROMPTS = [
    "What is the capital of France?", "Explain gravity to a child.", "Write a short poem about the sea.",
    "How do I boil an egg?", "List three uses of a paper clip.", "Translate 'good morning' into Spanish.",
    "What causes the seasons?", "Tell me a joke about computers.", "Summarise the story of Cinderella.",
    "What is 17 plus 25?", "Give me tips for better sleep.", "Who wrote Hamlet?",
    "Write an e-mail asking for a day off.", "What is photosynthesis?", "Describe a rainy afternoon.",
    "How does a bicycle stay upright?", "Name five animals that live in the Arctic.",
    "Why is the sky blue?", "Write a Python function that reverses a string.", "What should I cook tonight? I have rice and beans.",
]
UPDATES, BATCH, MAX_LENGTH = 20, 8, 128


def texts(path):
    return [row.split("\t")[0] for row in open(path, encoding="utf-8", newline="\n").read().split("\n")[1:-1]]


def write_logits(model, tokenizer, sentences, path):
    fixed = np.floor((formula("fixed", (64,), 0.5) + 0.5) * model.config.vocab_size).astype(np.int32)
    out, at = {"fixed": fixed}, 0
    for k, length in enumerate(LENGTHS):
        text, ids = "", []
        while len(ids) < length:
            text = (text + " " + sentences[at]).strip()
            ids, at = tokenizer(text)["input_ids"], at + 1
        ids = np.array(ids[:length], dtype=np.int32)
        with torch.no_grad():
            logits = model(torch.tensor(ids[None], dtype=torch.long)).logits[0]
        positions = np.linspace(0, length - 1, 8).round().astype(np.int32)
        rows = logits[torch.tensor(positions, dtype=torch.long)]
        top = rows.topk(32)
        out |= {f"ids.{k}": ids, f"logsumexp.{k}": logits.double().logsumexp(1).float().numpy(), f"positions.{k}": positions,
                f"top_ids.{k}": top.indices.int().numpy(), f"top.{k}": top.values.numpy(),
                f"at_fixed.{k}": rows[:, torch.tensor(fixed, dtype=torch.long)].contiguous().numpy()}
    save_file(out, path)


def write_generation(model, tokenizer, path):
    chats = []
    for prompt in PROMPTS:
        prompt_ids = tokenizer.apply_chat_template([{"role": "user", "content": prompt}], add_generation_prompt=True, return_dict=True)["input_ids"]
        cache, feed, ids, gaps = None, torch.tensor([prompt_ids]), [], []
        while len(ids) < 64 and (not ids or ids[-1] != tokenizer.eos_token_id):
            with torch.no_grad():
                out = model(feed, past_key_values=cache, use_cache=True)
            best = out.logits[0, -1].topk(2)
            ids.append(best.indices[0].item())
            gaps.append(round((best.values[0] - best.values[1]).item(), 6))
            cache, feed = out.past_key_values, torch.tensor([ids[-1:]])
        chats.append(dict(prompt=prompt, prompt_ids=prompt_ids, ids=ids, gaps=gaps))
    path.write_text("[\n" + ",\n".join(json.dumps(chat) for chat in chats) + "\n]\n")


def write_losses(base, tokenizer, rows, path):
    model = peft.get_peft_model(base, peft.LoraConfig(task_type="CAUSAL_LM", r=8, lora_alpha=16, target_modules="all-linear"))
    params = {n.replace(".default", ""): p for n, p in model.named_parameters() if p.requires_grad}
    for name, p in params.items():
        p.data = torch.tensor(formula(name, tuple(p.shape), 1 / np.sqrt(p.shape[1]) if ".lora_A." in name else 0.0)).float()
    model.train()
    optimizer = torch.optim.AdamW(params.values(), lr=2e-4, weight_decay=0.01)
    out = dict(losses=[], tokens=[], grad_norms=[], grads=[])
    for update in range(UPDATES):
        ids = [(tokenizer(t)["input_ids"] + [tokenizer.eos_token_id])[:MAX_LENGTH] for t in rows[update * BATCH:(update + 1) * BATCH]]
        width = max(map(len, ids))
        batch = torch.tensor([i + [0] * (width - len(i)) for i in ids])
        mask = torch.tensor([[1] * len(i) + [0] * (width - len(i)) for i in ids])
        optimizer.zero_grad()
        loss = model(input_ids=batch, attention_mask=mask, labels=batch.masked_fill(mask == 0, -100)).loss
        loss.backward()
        if update < 2:
            out["grads"].append({n: p.grad.norm().item() for n, p in sorted(params.items()) if ".layers.0." in n or ".layers.29." in n})
        out["grad_norms"].append(torch.nn.utils.clip_grad_norm_(params.values(), float("inf")).item())
        out["losses"].append(loss.item())
        out["tokens"].append(int(mask.sum()))
        optimizer.step()
    path.write_text(json.dumps(out, indent=1) + "\n")
    print("losses", out["losses"][0], "...", out["losses"][-1])


def main():
    model_dir, editorials, reviews = sys.argv[1:]
    here = pathlib.Path(__file__).parent
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32, attn_implementation="eager").eval()
    write_logits(model, tokenizer, texts(editorials), here / "smollm2.safetensors")
    write_generation(model, tokenizer, here / "smollm2_generation.json")
    write_losses(model, tokenizer, texts(reviews), here / "peft_smollm2.json")


main()
