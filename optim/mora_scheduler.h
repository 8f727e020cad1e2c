// The trainer's one door to learning rates.
#pragma once

#include "optim/schedule.h"

namespace mora {

// lr(update) = base · multiplier(update), a pure function: there is nothing to restore on resume.
class MoRAScheduler {
 public:
  MoRAScheduler(double base, const Schedule& schedule) : base_(base), schedule_(schedule) {}
  double rate(int64_t update) const { return base_ * schedule_.multiplier(update); }

 private:
  double base_;
  Schedule schedule_;
};

}  // namespace mora
