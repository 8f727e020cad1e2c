// How many parameters the components of all layers together have at an update.
#pragma once

#include <cstdint>

namespace mora {

// b(t) = b₀ up to `start`;  b_T + (b₀ − b_T)(1 − (t − start)/(end − start))³ until `end`;  b_T after it.   Zhang et al.
// 2023, "AdaLoRA", equation 12. Events are at the multiples of `interval` between the two, and at `end`.
struct BudgetSchedule {
  int64_t initial = 0, final = 0;  // b₀, b_T, parameters
  int64_t start = 0, end = 0;      // updates
  int64_t interval = 1;

  int64_t at(int64_t update) const;
  bool is_event(int64_t update) const {
    return update == end || (update > start && update < end && update % interval == 0);
  }
};

}  // namespace mora
