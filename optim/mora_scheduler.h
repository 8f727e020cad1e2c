// The trainer's one door to learning rates.
#pragma once

#include <optional>

#include "optim/schedule.h"

namespace mora {

// lr(update) = base · multiplier(update) · re-warm-up: in the first W updates after a rank event, which came after
// update e, (update − e)/W, as a schedule's own warm-up ("jagged", Jiang et al. 2024 and Lialin et al. 2023, ReLoRA). A
// pure function of the two: `last_event` is all there is to restore on resume.
class MoRAScheduler {
 public:
  MoRAScheduler(double base, const Schedule& schedule, int64_t rewarm = 0)
      : base_(base), schedule_(schedule), rewarm_(rewarm) {}
  double rate(int64_t update, std::optional<int64_t> last_event = {}) const {
    const bool warming = last_event && update - *last_event < rewarm_;
    return base_ * schedule_.multiplier(update) * (warming ? double(update - *last_event) / double(rewarm_) : 1);
  }

  // The factor on the learning rate of a layer's A and B, or M, after rank events: n₀/n, where an update of Adam with
  // learning rate η moves its output by η·n, and did by η·n₀ at the start. LoRA: n ∝ r, since events keep the scaling s
  // of ΔW = s·B·A, or they would change the function. (So for a plain gradient step, which moves it by η·s²·r:
  // Kalajdzievski 2023, "rsLoRA", asks for s²·r of order 1 at a fixed η.) MoRA: n is the sum of |C·x|: ∝ r̂ where C
  // picks inputs, √(in·r̂) where it adds in/r̂ of them. From rank 8 with rotation to rank 256 with sharing that is a
  // factor of 9.5 at 4096 inputs, and Jiang et al. 2024 take an about ten times lower rate.
  static double rank_scale(double initial, double now) { return initial / now; }

 private:
  double base_;
  Schedule schedule_;
  int64_t rewarm_;
};

}  // namespace mora
