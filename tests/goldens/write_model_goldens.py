"""Writes tests/goldens/models/NAME/: a small model of each family as transformers saves it, and what it computes in f32.

    python tests/goldens/write_model_goldens.py        # needs torch, transformers

Weights are formula(tensor name, bound) of formula.h rounded to bf16: matrices with bound √(3 / columns), embeddings 0.4,
norm weights 1 + a value of bound 0.3, biases 0.2. Saved as bf16 (sharded for `mistral`), computed in f32.
expected.safetensors, for the sequences s = 0, 1, …:
    ids.S     i32 (T)       one lies within, one beyond what the window, or the original context of the rotary scaling, spans
    hidden.S  f32 (T, 64)   the last hidden state (after the final norm)
    logits.S  f32 (T, 80)   causal models; encoders, which are saved with a classification head: (3)
Configs come in both spellings: `rope_parameters` (transformers 5) and `rope_theta` + `rope_scaling` with `type` or
`rope_type` (before); the expected values are computed from the directory as written.
"""
import json
import math
import pathlib
import shutil

import numpy as np
import torch
import transformers as hf
from formula import formula
from safetensors.numpy import save_file

VOCAB, WIDTH, INNER = 80, 64, 96
LENGTHS = [12, 40]

decoder = dict(vocab_size=VOCAB, hidden_size=WIDTH, intermediate_size=INNER, num_hidden_layers=2, num_attention_heads=4,
               max_position_embeddings=64, bos_token_id=1, eos_token_id=2)
encoder = dict(vocab_size=VOCAB, num_labels=3, hidden_act="gelu")
bert = dict(hidden_size=WIDTH, intermediate_size=INNER, num_hidden_layers=2, num_attention_heads=4)


def llama(layers=1, kv=2, tied=False, theta=10000.0, positions=64, **scaling):
    return hf.LlamaConfig(**decoder | dict(num_hidden_layers=layers, num_key_value_heads=kv, tie_word_embeddings=tied,
                                           max_position_embeddings=positions),
                          rope_parameters=dict(rope_type="default", rope_theta=theta) | scaling)


MODELS = {  # name: (config, how config.json spells the rotary embedding)
    "llama": (llama(layers=2, kv=4), "rope_parameters"),
    "llama_gqa_tied": (llama(layers=2, kv=1, tied=True, theta=500.0), "rope_type"),
    "llama_linear": (llama(rope_type="linear", factor=4.0), "type"),
    "llama_dynamic": (llama(rope_type="dynamic", factor=2.0, positions=16), "rope_type"),
    "llama_llama3": (llama(theta=500.0, rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                           original_max_position_embeddings=32), "rope_type"),
    "llama_yarn": (llama(theta=100.0, rope_type="yarn", factor=4.0, original_max_position_embeddings=16), "rope_parameters"),
    "mistral": (hf.MistralConfig(**decoder, num_key_value_heads=2, sliding_window=8), "rope_type"),
    "qwen2": (hf.Qwen2Config(**decoder, num_key_value_heads=2, tie_word_embeddings=False), "rope_type"),
    "qwen3": (hf.Qwen3Config(**decoder | dict(num_attention_heads=3), num_key_value_heads=1, head_dim=32, tie_word_embeddings=True),
              "rope_parameters"),
    "gpt2": (hf.GPT2Config(vocab_size=VOCAB, n_embd=WIDTH, n_inner=INNER, n_layer=2, n_head=4, n_positions=64, bos_token_id=1,
                           eos_token_id=2), None),
    "bert": (hf.BertConfig(**encoder, **bert, max_position_embeddings=64), None),
    "distilbert": (hf.DistilBertConfig(vocab_size=VOCAB, num_labels=3, dim=WIDTH, hidden_dim=INNER, n_layers=2, n_heads=4,
                                       max_position_embeddings=64), None),
    "roberta": (hf.RobertaConfig(**encoder, **bert, max_position_embeddings=66, type_vocab_size=1), None),
}


def weight(name, shape):
    if name.endswith("bias"):
        return formula(name, shape, 0.2)
    if len(shape) == 1:
        return 1 + formula(name, shape, 0.3)
    embedding = any(part in name for part in ("embed", "wte", "wpe"))
    return formula(name, shape, 0.4 if embedding else math.sqrt(3 / shape[1]))


def respell(path, spelling):
    config = json.loads(path.read_text())
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    kind = rope.pop("rope_type")
    config["rope_scaling"] = None if kind == "default" else {spelling: kind} | rope
    config["torch_dtype"] = config.pop("dtype")
    path.write_text(json.dumps(config, indent=2) + "\n")


def write(name, config, spelling, folder):
    causal = config.model_type not in ("bert", "distilbert", "roberta")
    auto = hf.AutoModelForCausalLM if causal else hf.AutoModelForSequenceClassification
    model = auto.from_config(config, dtype=torch.bfloat16)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            parameter.copy_(torch.tensor(weight(key, tuple(parameter.shape)), dtype=torch.float32))
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder, max_shard_size="90KB" if name == "mistral" else "1GB")
    (folder / "generation_config.json").unlink(missing_ok=True)
    if spelling not in (None, "rope_parameters"):
        respell(folder / "config.json", spelling)

    model = auto.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    expected = {}
    for s, length in enumerate(LENGTHS):
        ids = 3 + np.floor((formula(f"ids.{s}", (length,), 0.5) + 0.5) * (VOCAB - 3)).astype(np.int32)
        with torch.no_grad():
            out = model(torch.tensor(ids[None], dtype=torch.long), output_hidden_states=True)
        expected |= {f"ids.{s}": ids, f"hidden.{s}": out.hidden_states[-1][0].numpy(), f"logits.{s}": out.logits[0].numpy()}
    save_file(expected, folder / "expected.safetensors")
    size = sum(f.stat().st_size for f in folder.iterdir())
    print(f"{name}: {size} bytes, logits within {[round(float(np.abs(expected[f'logits.{s}']).max()), 2) for s in range(len(LENGTHS))]}")


for model_name, (model_config, how) in MODELS.items():
    write(model_name, model_config, how, pathlib.Path(__file__).with_name("models") / model_name)
