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

 private:
  double base_;
  Schedule schedule_;
  int64_t rewarm_;
};

}  // namespace mora
