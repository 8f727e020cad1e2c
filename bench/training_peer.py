#!/usr/bin/env python3
"""The step that `mora bench training` times, with PyTorch and PEFT: a Llama of 1.1 B parameters with random weights in
bf16, LoRA of rank 16 on all linears, AdamW (fused), sequences of 2048 tokens; eager and compiled.

usage: training_peer.py [--device cuda] [--batch 1 8] [--seconds S] [--smallest]
Prints a line for each; needs torch, transformers and peft. The median of at least nine steps after three.
`--smallest` takes a tiny model and few steps: it shows that the script works, on any device.
"""
import argparse
import statistics
import time

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM


def synchronize(device):
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def build(a, device):
    sizes = dict(num_hidden_layers=22, hidden_size=2048, intermediate_size=5632, num_attention_heads=32,
                 num_key_value_heads=4, vocab_size=32000, max_position_embeddings=2048)
    if a.smallest:
        sizes = dict(num_hidden_layers=2, hidden_size=64, intermediate_size=96, num_attention_heads=4,
                     num_key_value_heads=2, vocab_size=128, max_position_embeddings=24)
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(device):
        base = LlamaForCausalLM(LlamaConfig(use_cache=False, attn_implementation="sdpa", **sizes))
    torch.set_default_dtype(torch.float32)
    model = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", r=16, lora_alpha=32, target_modules="all-linear"))
    return model.train(), sizes


def measure(model, sizes, a, device, batch, compiled):
    length = sizes["max_position_embeddings"]
    ids = torch.randint(0, sizes["vocab_size"], (batch, length), device=device)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-4, fused=True)
    run = torch.compile(model, dynamic=False) if compiled else model

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = run(input_ids=ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1e9)  # the norm, which ours reports too
        optimizer.step()
        return loss

    for _ in range(1 if a.smallest else 3):
        step().item()
    times = []
    while len(times) < (2 if a.smallest else 9) or (sum(times) < a.seconds and not a.smallest):
        synchronize(device)
        begin = time.perf_counter()
        step().item()
        synchronize(device)
        times.append(time.perf_counter() - begin)
    seconds = statistics.median(times)
    name = f"PyTorch {torch.__version__} + PEFT, {'compiled' if compiled else 'eager'}, {batch} x {length} tokens"
    print(f"  {name:58} {1e3 * seconds:10.3f} ms {batch * length / seconds:9.1f} tokens/s", flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--device", default="cuda")
    p.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    p.add_argument("--seconds", type=float, default=2, help="of steps, at least")
    p.add_argument("--smallest", action="store_true")
    a = p.parse_args()
    if a.device.startswith("cuda") and not torch.cuda.is_available():
        raise SystemExit("training_peer.py: PyTorch finds no CUDA device; --device cpu --smallest shows that it works")
    torch.set_float32_matmul_precision("high")
    model, sizes = build(a, a.device)
    for compiled in (False, True):
        for batch in a.batch:
            torch._dynamo.reset()
            measure(model, sizes, a, a.device, batch, compiled)


if __name__ == "__main__":
    main()
