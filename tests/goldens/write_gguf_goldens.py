#!/usr/bin/env python3
"""Writes gguf.gguf and gguf.safetensors: what the `gguf` package writes, and what it reads back in f32.

A llama of one layer with every block format, random bits in the blocks (scales finite), queries and keys interleaved as
the converter does, and metadata of every type. gguf.safetensors holds the f32 values under Hugging Face names, in Hugging
Face's row order.

Needs: pip install gguf safetensors numpy. Run here: python write_gguf_goldens.py
"""
import numpy as np
from gguf import GGMLQuantizationType as T
from gguf import GGUFWriter, quants
from gguf.constants import GGML_QUANT_SIZES
from safetensors.numpy import save_file

rng = np.random.default_rng(0)
D, FF, VOCAB, HEADS, KV = 256, 256, 9, 4, 2
HALVES = {T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0], T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208]}


def blocks(kind, rows, columns):
    """Random bytes of a format, with small finite f16 scales where the format keeps them."""
    size, width = GGML_QUANT_SIZES[kind]
    raw = rng.integers(0, 256, (rows * columns // size, width), dtype=np.uint8)
    for at in HALVES[kind]:
        raw[:, at:at + 2] = rng.normal(0, 0.05, (len(raw), 1)).astype(np.float16).view(np.uint8)
    return raw.reshape(rows, -1)


def interleave(rows, heads):  # convert_hf_to_gguf's LlamaModel.permute
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


writer = GGUFWriter("gguf.gguf", "llama")
expected = {}


def quantised(name, hf, kind, rows, columns, heads=0):
    raw = blocks(kind, rows, columns)
    expected[hf] = quants.dequantize(raw, kind)
    writer.add_tensor(name, interleave(raw, heads) if heads else raw, raw_dtype=kind)


def plain(name, hf, values, kind):
    raw = quants.quantize(values, kind)
    expected[hf] = quants.dequantize(raw, kind).astype(np.float32)
    writer.add_tensor(name, raw, raw_dtype=kind)


writer.add_name("golden")
writer.add_block_count(1)
writer.add_context_length(64)
writer.add_embedding_length(D)
writer.add_feed_forward_length(FF)
writer.add_head_count(HEADS)
writer.add_head_count_kv(KV)
writer.add_rope_freq_base(5000.0)
writer.add_layer_norm_rms_eps(1e-5)
writer.add_tokenizer_model("llama")
writer.add_token_list(["<unk>", "<s>", "</s>", "<0x0A>", "▁", "a", "b", "ab", "▁ab"])
writer.add_token_scores([0.0, 0.0, 0.0, 0.0, -4.0, -2.0, -3.0, -1.0, -0.5])
writer.add_token_types([2, 3, 3, 6, 1, 1, 1, 1, 4])
writer.add_bos_token_id(1)
writer.add_eos_token_id(2)
writer.add_unk_token_id(0)
writer.add_chat_template("{{ messages }}")
writer.add_array("golden.integers", [-1, 2])
writer.add_uint8("golden.u8", 200), writer.add_int8("golden.i8", -100), writer.add_uint16("golden.u16", 60000)
writer.add_int16("golden.i16", -30000), writer.add_int32("golden.i32", -5), writer.add_uint64("golden.u64", 1 << 40)
writer.add_int64("golden.i64", -(1 << 40)), writer.add_float64("golden.f64", 0.1), writer.add_bool("golden.bool", True)

layer = "model.layers.0."
quantised("token_embd.weight", "model.embed_tokens.weight", T.Q8_0, VOCAB, D)
plain("output_norm.weight", "model.norm.weight", rng.normal(0, 1, D).astype(np.float32), T.F32)
plain("blk.0.attn_norm.weight", layer + "input_layernorm.weight", rng.normal(0, 1, D).astype(np.float32), T.F16)
plain("blk.0.ffn_norm.weight", layer + "post_attention_layernorm.weight", rng.normal(0, 1, D).astype(np.float32), T.BF16)
quantised("blk.0.attn_q.weight", layer + "self_attn.q_proj.weight", T.Q4_0, 32, D, HEADS)
quantised("blk.0.attn_k.weight", layer + "self_attn.k_proj.weight", T.Q4_1, 16, D, KV)
quantised("blk.0.attn_v.weight", layer + "self_attn.v_proj.weight", T.Q5_0, 4, D)
quantised("blk.0.attn_output.weight", layer + "self_attn.o_proj.weight", T.Q5_1, 4, D)
quantised("blk.0.ffn_gate.weight", layer + "mlp.gate_proj.weight", T.Q4_K, 4, D)
quantised("blk.0.ffn_up.weight", layer + "mlp.up_proj.weight", T.Q5_K, 4, D)
quantised("blk.0.ffn_down.weight", layer + "mlp.down_proj.weight", T.Q6_K, 4, FF)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
save_file({k: np.ascontiguousarray(v, dtype=np.float32) for k, v in expected.items()}, "gguf.safetensors")
