// Loss scaling for gradients that pass through f16: Micikevicius et al. 2018, with PyTorch's GradScaler's constants.
#pragma once

#include <cstdint>

namespace mora {

// The loss is multiplied by `scale` before the backward, so that small gradients are above f16's least number, and the
// gradients divided by it after. Not finite: the update is skipped and the scale halved; after 2000 updates in a row
// that were applied it is doubled. Once an update, also with SAM, whose passes share one scale.
struct GradScaler {
  static constexpr double kInitial = 65536, kGrowth = 2, kBackoff = 0.5;
  static constexpr int64_t kInterval = 2000;

  double scale = kInitial;
  int64_t applied = 0;  // in a row, since the scale last changed

  void after_update(bool was_applied) {
    if (!was_applied) {
      scale *= kBackoff;
      applied = 0;
    } else if (++applied == kInterval) {
      scale *= kGrowth;
      applied = 0;
    }
  }
};

}  // namespace mora
