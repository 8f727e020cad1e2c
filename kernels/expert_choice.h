// Which of the experts a row chooses (kernels/routing.h). Plain: the kernels of every device read this.
#pragma once

#include <cstdint>

namespace mora::kernels {

struct ExpertChoice {
  int64_t top_k = 1;     // the k largest p,
  double top_p = 0;      // or where it is above 0: the fewest of the largest whose sum exceeds it
  bool at_zero = false;  // a margin of 0 lets in too
};

}  // namespace mora::kernels
