"""Writes tests/goldens/optimizers.h: trajectories of torch's optimizers in f64, and clipped gradients.

    python tests/goldens/write_optimizer_goldens.py        # needs torch, numpy

Two parameters, w (3, 5) and b (7), start at formula("w", bound 1) and formula("b", bound 1); before update t = 0, 1, …
the gradient of p is formula(f"grad.{p}.{t}", bound 1) (formula.h). Stored: w then b, flat, after the updates in STEPS.
"""
import pathlib

import torch
from formula import formula

SHAPES = {"w": (3, 5), "b": (7,)}
STEPS = [1, 2, 10, 100]
CASES = [
    ("adamw", dict(lr=1e-2)),
    ("adamw", dict(lr=1e-3, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1)),
    ("adamw", dict(lr=1e-2, weight_decay=0.0)),
    ("adamw", dict(lr=1e-2, weight_decay=0.05, amsgrad=True)),
    ("sgd", dict(lr=1e-2)),
    ("sgd", dict(lr=1e-2, weight_decay=0.1)),
    ("sgd", dict(lr=1e-2, momentum=0.9)),
    ("sgd", dict(lr=1e-2, momentum=0.9, nesterov=True)),
    ("sgd", dict(lr=1e-2, momentum=0.9, dampening=0.3)),
    ("sgd", dict(lr=1e-2, momentum=0.8, nesterov=True, weight_decay=0.05)),
]
CLIPS = [(1.0, 1.0), (10.0, 1.0), (3.0, 1e-2)]  # (max_norm, scale of the gradients)


def numbers(tensors):
    return "{" + ", ".join(repr(x) for t in tensors for x in t.detach().flatten().tolist()) + "}"


def trajectory(kind, options):
    params = {n: torch.nn.Parameter(torch.tensor(formula(n, s, 1.0))) for n, s in SHAPES.items()}
    optimizer = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[kind](params.values(), **options)
    stored = []
    for t in range(STEPS[-1]):
        for name, p in params.items():
            p.grad = torch.tensor(formula(f"grad.{name}.{t}", SHAPES[name], 1.0))
        optimizer.step()
        if t + 1 in STEPS:
            stored.append(numbers(params.values()))
    return stored


def clip(max_norm, scale):
    params = {n: torch.nn.Parameter(torch.zeros(s, dtype=torch.float64)) for n, s in SHAPES.items()}
    for name, p in params.items():
        p.grad = torch.tensor(formula(f"grad.{name}.0", SHAPES[name], scale))
    norm = torch.nn.utils.clip_grad_norm_(params.values(), max_norm)
    return f"{{{max_norm!r}, {scale!r}, {norm.item()!r}, {numbers(p.grad for p in params.values())}}}"


lines = [f"// Written by write_optimizer_goldens.py with torch {torch.__version__}; what the numbers are stands there.",
         "#pragma once", "", "#include <array>", "#include <cstdint>", "#include <string_view>", "",
         "namespace mora::goldens {", "",
         "struct OptimizerGolden {", "  std::string_view kind;  // adamw | sgd",
         "  double lr, beta1, beta2, eps, weight_decay, momentum, dampening;", "  bool nesterov, amsgrad;",
         "  std::array<std::array<double, 22>, 4> parameters;  // w (3, 5) then b (7), after each of optimizer_steps",
         "};", "", "struct ClipGolden {", "  double max_norm, scale, norm;",
         "  std::array<double, 22> clipped;", "};", "",
         f"inline constexpr std::array<int64_t, 4> optimizer_steps = {{{', '.join(map(str, STEPS))}}};", "",
         "// clang-format off", "inline constexpr OptimizerGolden optimizers[] = {"]
for kind, options in CASES:
    full = dict(betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01 if kind == "adamw" else 0.0, momentum=0.0, dampening=0.0,
                nesterov=False, amsgrad=False) | options
    values = [full["lr"], *full["betas"], full["eps"], full["weight_decay"], full["momentum"], full["dampening"]]
    flags = ["true" if full[f] else "false" for f in ("nesterov", "amsgrad")]
    lines.append(f'  {{"{kind}", {", ".join(map(repr, values))}, {", ".join(flags)},\n   {{{{')
    lines += [f"     {row}," for row in trajectory(kind, options)]
    lines.append("   }}},")
lines += ["};", "", "inline constexpr ClipGolden clips[] = {"]
lines += [f"  {clip(*case)}," for case in CLIPS]
lines += ["};", "// clang-format on", "", "}  // namespace mora::goldens", ""]
pathlib.Path(__file__).with_name("optimizers.h").write_text("\n".join(lines))
