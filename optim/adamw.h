// Adam with decoupled weight decay (Loshchilov & Hutter 2019), as PyTorch's: kernels/optimizer.h has the equations.
#pragma once

#include "kernels/optimizer.h"
#include "optim/optimizer.h"

namespace mora {

struct AdamWOptions {
  double beta1 = 0.9, beta2 = 0.999;  // decay of the mean and of the mean square, in [0, 1)
  double eps = 1e-8;                  // added after the bias correction
  double weight_decay = 1e-2;
  bool amsgrad = false;  // divide by the largest mean square so far (Reddi et al. 2018)
};

class AdamW final : public Optimizer {
 public:
  AdamW(std::vector<Parameter> parameters, const AdamWOptions& options);

 protected:
  void update(std::span<const Update> updates, const Tensor& gate, const Tensor& steps) override;
  Tensor steps(std::span<const Update> updates) override;

 private:
  std::vector<kernels::AdamWTerm> terms(std::span<const Update> updates) const;
  kernels::AdamWRule rule() const { return {options_.beta1, options_.beta2, options_.eps}; }

  AdamWOptions options_;
};

}  // namespace mora
