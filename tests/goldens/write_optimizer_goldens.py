"""Writes tests/goldens/optimizers.h: trajectories in f64 of torch's optimizers, and of LARS and LAMB, which torch has
not, by their plain equations in numpy; and clipped gradients.

    python tests/goldens/write_optimizer_goldens.py        # needs torch, numpy

Two parameters, w (3, 5) and b (7), start at formula("w", bound 1) and formula("b", bound 1); before update t = 0, 1, …
the gradient of p is formula(f"grad.{p}.{t}", bound 1) (formula.h). Stored: w then b, flat, after the updates in STEPS.
"""
import pathlib

import numpy as np
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
    ("lars", dict(lr=1.0, momentum=0.9, trust=0.01)),
    ("lars", dict(lr=0.5, momentum=0.0, trust=0.02, weight_decay=0.1)),
    ("lars", dict(lr=0.1, momentum=0.9, trust=0.05, weight_decay=0.01, norm_floor=1.6)),  # b starts below, w above
    ("lars", dict(lr=0.02, momentum=0.9, trust=0.05, larc=True)),
    ("lamb", dict(lr=1e-2)),
    ("lamb", dict(lr=5e-3, betas=(0.8, 0.95), eps=1e-8, weight_decay=0.1)),
    ("lamb", dict(lr=1e-2, weight_decay=0.0, norm_floor=1.6)),
]
DEFAULTS = dict(betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, momentum=0.0, dampening=0.0, trust=0.0, norm_floor=0.0,
                nesterov=False, amsgrad=False, larc=False)
OWN_DEFAULTS = {"adamw": dict(weight_decay=0.01), "lamb": dict(weight_decay=0.01, eps=1e-6)}
CLIPS = [(1.0, 1.0), (10.0, 1.0), (3.0, 1e-2)]  # (max_norm, scale of the gradients)


def numbers(tensors):
    return "{" + ", ".join(repr(x) for t in tensors for x in t.detach().flatten().tolist()) + "}"


def lars(w, g, state, t, lr, momentum, eps, weight_decay, trust, norm_floor, larc, **_):
    """You et al. 2017 as torchlars 0.1.2; norm_floor and larc as optim/lars.h says."""
    w_norm, g_norm = np.linalg.norm(w), np.linalg.norm(g)
    local = 1.0
    if w_norm > norm_floor and g_norm > 0:
        local = trust * w_norm / (g_norm + weight_decay * w_norm + eps)
        local = min(local / lr, 1.0) if larc else local
    g = local * (g + weight_decay * w)
    state["buf"] = momentum * state["buf"] + g if "buf" in state else g
    return w - lr * state["buf"]


def lamb(w, g, state, t, lr, betas, eps, weight_decay, norm_floor, **_):
    """You et al. 2020, algorithm 2, with bias correction."""
    m = state["m"] = betas[0] * state.get("m", 0) + (1 - betas[0]) * g
    v = state["v"] = betas[1] * state.get("v", 0) + (1 - betas[1]) * g * g
    u = m / (1 - betas[0] ** (t + 1)) / (np.sqrt(v / (1 - betas[1] ** (t + 1))) + eps) + weight_decay * w
    w_norm, u_norm = np.linalg.norm(w), np.linalg.norm(u)
    return w - lr * (w_norm / u_norm if w_norm > norm_floor and u_norm > 0 else 1.0) * u


def plain_trajectory(kind, options):
    params = {n: formula(n, s, 1.0) for n, s in SHAPES.items()}
    states = {n: {} for n in SHAPES}
    stored = []
    for t in range(STEPS[-1]):
        for name, w in params.items():
            g = formula(f"grad.{name}.{t}", SHAPES[name], 1.0)
            params[name] = {"lars": lars, "lamb": lamb}[kind](w, g, states[name], t, **options)
        if t + 1 in STEPS:
            stored.append(numbers(torch.tensor(w) for w in params.values()))
    return stored


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
         "struct OptimizerGolden {", "  std::string_view kind;  // adamw | sgd | lars | lamb",
         "  double lr, beta1, beta2, eps, weight_decay, momentum, dampening, trust, norm_floor;",
         "  bool nesterov, amsgrad, larc;",
         "  std::array<std::array<double, 22>, 4> parameters;  // w (3, 5) then b (7), after each of optimizer_steps",
         "};", "", "struct ClipGolden {", "  double max_norm, scale, norm;",
         "  std::array<double, 22> clipped;", "};", "",
         f"inline constexpr std::array<int64_t, 4> optimizer_steps = {{{', '.join(map(str, STEPS))}}};", "",
         "// clang-format off", "inline constexpr OptimizerGolden optimizers[] = {"]
for kind, options in CASES:
    full = DEFAULTS | OWN_DEFAULTS.get(kind, {}) | options
    keys = ("eps", "weight_decay", "momentum", "dampening", "trust", "norm_floor")
    values = [full["lr"], *full["betas"], *(full[k] for k in keys)]
    flags = ["true" if full[f] else "false" for f in ("nesterov", "amsgrad", "larc")]
    lines.append(f'  {{"{kind}", {", ".join(map(repr, values))}, {", ".join(flags)},\n   {{{{')
    plain = kind in ("lars", "lamb")
    lines += [f"     {row}," for row in (plain_trajectory(kind, full) if plain else trajectory(kind, options))]
    lines.append("   }}},")
lines += ["};", "", "inline constexpr ClipGolden clips[] = {"]
lines += [f"  {clip(*case)}," for case in CLIPS]
lines += ["};", "// clang-format on", "", "}  // namespace mora::goldens", ""]
pathlib.Path(__file__).with_name("optimizers.h").write_text("\n".join(lines))
