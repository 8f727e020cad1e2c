#!/usr/bin/env python3
"""Writes safetensors.safetensors with the reference writer: every dtype MoRA computes with, scalars, empty tensors, names
out of order and beyond ASCII. Value i of tensor t is i (mod 2 for bool).

Needs: pip install safetensors torch. Run here: python write_safetensors_goldens.py
"""
import torch
from safetensors.torch import save_file

shapes = {"z": (2, 3), "a": (4,), "empty": (0, 5), "scalar": ()}
types = {"f64": torch.float64, "f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16, "i64": torch.int64,
         "i32": torch.int32, "u8": torch.uint8, "bool": torch.bool}
tensors = {}
for type_name, dtype in types.items():
    for shape_name, shape in shapes.items():
        count = int(torch.tensor(shape).prod()) if shape else 1
        tensors[f"{shape_name}.{type_name}"] = (torch.arange(count) % (2 if dtype is torch.bool else 100)).to(dtype).reshape(shape)
tensors['quo"te\\é\n\x01'] = torch.ones(3, dtype=torch.uint8)
save_file(tensors, "safetensors.safetensors", metadata={"format": "pt"})
