"""Writes tests/goldens/schedules.h: the multipliers of Hugging Face's schedules over 100 updates.

    python tests/goldens/write_schedule_goldens.py        # needs transformers
"""
import pathlib

import torch
import transformers
from transformers import optimization as hf

LR = 0.5  # a power of two: dividing it out again is exact


def optimizer():
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR)


W, T = 10, 100
CASES = [  # (the C++ Schedule, Hugging Face's)
    ("{.kind = ScheduleKind::linear, .warmup = 10, .total = 100}",
     lambda o: hf.get_linear_schedule_with_warmup(o, W, T)),
    ("{.kind = ScheduleKind::linear, .warmup = 0, .total = 60}",
     lambda o: hf.get_linear_schedule_with_warmup(o, 0, 60)),
    ("{.kind = ScheduleKind::cosine, .warmup = 10, .total = 100}",
     lambda o: hf.get_cosine_schedule_with_warmup(o, W, T)),
    ("{.kind = ScheduleKind::cosine, .warmup = 7, .total = 93, .cycles = 1.5}",
     lambda o: hf.get_cosine_schedule_with_warmup(o, 7, 93, num_cycles=1.5)),
    ("{.kind = ScheduleKind::cosine, .warmup = 10, .total = 100, .min_ratio = 0.1}",
     lambda o: hf.get_cosine_with_min_lr_schedule_with_warmup(o, W, T, min_lr_rate=0.1)),
    ("{.kind = ScheduleKind::cosine_with_restarts, .warmup = 10, .total = 100}",
     lambda o: hf.get_cosine_with_hard_restarts_schedule_with_warmup(o, W, T)),
    ("{.kind = ScheduleKind::cosine_with_restarts, .warmup = 4, .total = 90, .cycles = 3}",
     lambda o: hf.get_cosine_with_hard_restarts_schedule_with_warmup(o, 4, 90, num_cycles=3)),
    ("{.kind = ScheduleKind::polynomial, .warmup = 10, .total = 90, .min_ratio = 0.2, .power = 2}",
     lambda o: hf.get_polynomial_decay_schedule_with_warmup(o, W, 90, lr_end=0.1, power=2.0)),
    ("{.kind = ScheduleKind::inverse_sqrt, .warmup = 10, .total = 100}",
     lambda o: hf.get_inverse_sqrt_schedule(o, W)),
    ("{.kind = ScheduleKind::inverse_sqrt, .warmup = 0, .total = 100}",
     lambda o: hf.get_inverse_sqrt_schedule(o, 0)),
    ("{.kind = ScheduleKind::warmup_stable_decay, .warmup = 10, .total = 100, .decay = 30}",
     lambda o: hf.get_wsd_schedule(o, W, 30, num_stable_steps=60)),
    ("{.kind = ScheduleKind::warmup_stable_decay, .warmup = 8, .total = 80, .min_ratio = 0.1, .decay = 30,"
     " .decay_shape = DecayShape::linear}",
     lambda o: hf.get_wsd_schedule(o, 8, 30, num_stable_steps=42, decay_type="linear", min_lr_ratio=0.1)),
    ("{.kind = ScheduleKind::warmup_stable_decay, .warmup = 0, .total = 100, .decay = 50,"
     " .decay_shape = DecayShape::one_minus_sqrt}",
     lambda o: hf.get_wsd_schedule(o, 0, 50, num_stable_steps=50, decay_type="1-sqrt")),
    ("{.kind = ScheduleKind::constant, .warmup = 10, .total = 100}",
     lambda o: hf.get_constant_schedule(o)),
    ("{.kind = ScheduleKind::constant_with_warmup, .warmup = 10, .total = 100}",
     lambda o: hf.get_constant_schedule_with_warmup(o, W)),
]


def multipliers(make):
    schedule = make(optimizer())
    return [float(schedule.lr_lambdas[0](step)) for step in range(100)] if hasattr(schedule, "lr_lambdas") else [1.0] * 100


lines = [f"// Written by write_schedule_goldens.py with transformers {transformers.__version__}.", "#pragma once", "",
         "#include <array>", "", '#include "optim/schedule.h"', "", "namespace mora::goldens {", "",
         "struct ScheduleGolden {", "  Schedule schedule;", "  std::array<double, 100> multipliers;", "};", "",
         "// clang-format off", "inline const ScheduleGolden schedules[] = {"]
for text, make in CASES:
    lines.append(f"  {{{text},\n   {{{', '.join(map(repr, multipliers(make)))}}}}},")
lines += ["};", "// clang-format on", "", "}  // namespace mora::goldens", ""]
pathlib.Path(__file__).with_name("schedules.h").write_text("\n".join(lines))
