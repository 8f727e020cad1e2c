"""What the scripts of PEFT's goldens share: MiniLM with a head, its batches, an update after the other, a sample of a delta."""
import math

import torch
from transformers import BertForSequenceClassification


def saved_name(name):
    return name.replace(".modules_to_save", "").replace(".default", "")


def minilm(model_dir):
    return BertForSequenceClassification.from_pretrained(
        model_dir, dtype=torch.float32, attn_implementation="eager", num_labels=2, hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0)


def batches(rows, tokenizer, updates, size=8, length=48):
    """Of rows (text, label, …): negative = 0, positive = 1."""
    for update in range(updates):
        texts, labels, _ = zip(*rows[update * size:(update + 1) * size])
        batch = tokenizer(list(texts), truncation=True, max_length=length, padding=True, return_tensors="pt")
        yield dict(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"],
                   labels=torch.tensor([int(l == "positive") for l in labels]))


def train(model, groups, data):
    """torch's AdamW on parameter groups; a loss and a gradient norm an update."""
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01)
    out = dict(losses=[], grad_norms=[])
    for batch in data:
        optimizer.zero_grad()
        loss = model(**batch).loss
        loss.backward()
        out["grad_norms"].append(
            torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], math.inf).item())
        out["losses"].append(loss.item())
        optimizer.step()
    return out


def sampled(delta):
    """The Frobenius norm, and 64 entries of the row-major matrix, every step-th from the first."""
    delta = delta.flatten()
    step = delta.numel() // 64
    return dict(norm=delta.norm().item(), step=step, values=delta[::step][:64].tolist())
