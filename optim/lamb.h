// Adam whose update of each tensor is as long as the tensor: You et al. 2020, "Large Batch Optimization for Deep
// Learning: Training BERT in 76 minutes". kernels/optimizer.h has the equations.
//
// The trust ratio ‖w‖/‖u‖ is 1 where ‖w‖ ≤ norm_floor or the parameter says no to trust ratios: a tensor that starts at
// zero (B of LoRA, M of MoRA) is moved as by AdamW until it has grown to the floor, for the ratio would keep it at
// zero.
#pragma once

#include "kernels/optimizer.h"
#include "optim/optimizer.h"

namespace mora {

struct LambOptions {
  double beta1 = 0.9, beta2 = 0.999;
  double eps = 1e-6;  // added after the bias correction
  double norm_floor = 0;
  double weight_decay = 1e-2;
};

class Lamb final : public Optimizer {
 public:
  Lamb(std::vector<Parameter> parameters, const LambOptions& options);

 protected:
  void update(std::span<const Update> updates, const Tensor& gate, const Tensor& steps) override;
  Tensor steps(std::span<const Update> updates) override;

 private:
  std::vector<kernels::LambTerm> terms(std::span<const Update> updates) const;
  kernels::LambRule rule() const { return {options_.beta1, options_.beta2, options_.eps, options_.norm_floor}; }

  LambOptions options_;
};

}  // namespace mora
