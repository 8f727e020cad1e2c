// Learning-rate schedules: lr(s) = base lr · multiplier(s), a pure function of the update's number s = 0, 1, ….
//
// The kinds, names and values are those of Hugging Face's `transformers.optimization`; W = warm-up, T = total updates.
// While s < W each kind but `constant` gives s / max(1, W), so that update 0 has learning rate 0. After it, with
// p = (s − W) / max(1, T − W), the multiplier is r + (1 − r)·shape, r = `min_ratio` (Hugging Face's own `linear`,
// `cosine` and `cosine_with_restarts` fix r = 0; its `polynomial` calls r·lr `lr_end`):
//
//   linear                 1 − p                    cosine                ½(1 + cos 2πcp),  c = ½ by default
//   polynomial             (1 − p)^power            cosine_with_restarts  ½(1 + cos π(cp mod 1)),  c = 1 by default
//   inverse_sqrt           1/√((s + τ − W)/τ), τ = W, or 10,000 without warm-up; never below r
//   warmup_stable_decay    1 until the last D updates, then cosine, linear or 1 − √ of the part of D that has passed;
//                          the warm-up starts at r, not at 0
//   constant               1 from the first update; constant_with_warmup: 1 after the warm-up
#pragma once

#include <cstdint>

namespace mora {

enum class ScheduleKind {
  linear,
  cosine,
  cosine_with_restarts,
  polynomial,
  inverse_sqrt,
  warmup_stable_decay,
  constant,
  constant_with_warmup,
};

enum class DecayShape { cosine, linear, one_minus_sqrt };  // of warmup_stable_decay

struct Schedule {
  ScheduleKind kind = ScheduleKind::cosine;
  int64_t warmup = 0;                           // W, updates
  int64_t total = 0;                            // T, updates
  double min_ratio = 0.0;                       // r, in [0, 1]
  double cycles = 0.0;                          // c; 0 stands for the kind's default
  double power = 1.0;                           // polynomial
  int64_t decay = 0;                            // D, updates
  DecayShape decay_shape = DecayShape::cosine;  // of D

  // The multiplier of update `step` ≥ 0. Past `total` each kind goes on as Hugging Face's does.
  double multiplier(int64_t step) const;
};

}  // namespace mora
