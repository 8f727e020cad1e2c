// Layer-wise adaptive rate scaling: You, Gitman & Ginsburg 2017, "Large Batch Training of Convolutional Networks", with
// the equations of torchlars.
//
//   s = η‖w‖/(‖g‖ + wd·‖w‖ + eps);  g = s·(g + wd·w);  buf = μ·buf + g, the first time buf = g;  w −= lr·buf
//
// each tensor with norms of its own. s = 1 where ‖g‖ = 0, ‖w‖ ≤ norm_floor or the parameter says no to trust ratios: a
// tensor that starts at zero (B of LoRA, M of MoRA) is moved by plain SGD until it has grown to the floor, for s would
// keep it at zero. `larc` (NVIDIA's LARC with clipping): s = min(s/lr, 1), so that no tensor moves faster than by SGD.
#pragma once

#include "optim/optimizer.h"

namespace mora {

struct LarsOptions {
  double trust = 1e-3;    // η
  double momentum = 0.9;  // μ in [0, 1)
  double eps = 1e-8;      // added to the denominator of s
  double norm_floor = 0;  // of ‖w‖
  double weight_decay = 0;
  bool larc = false;
};

class Lars final : public Optimizer {
 public:
  Lars(std::vector<Parameter> parameters, const LarsOptions& options);
  bool is_recordable() const override { return false; }

 protected:
  void update(std::span<const Update> updates, const Tensor& gate, const Tensor&) override;

 private:
  double local_rate(const Update& update, double weight_norm, double gradient_norm) const;

  LarsOptions options_;
};

}  // namespace mora
