// Stochastic gradient descent with momentum, as PyTorch's:
//   g += wd·w;  buf = μ·buf + (1 − d)·g, the first time buf = g;  w −= lr·(nesterov ? g + μ·buf : μ > 0 ? buf : g)
#pragma once

#include "kernels/optimizer.h"
#include "optim/optimizer.h"

namespace mora {

struct SgdOptions {
  double momentum = 0;      // μ in [0, 1)
  double dampening = 0;     // d
  bool nesterov = false;    // needs μ > 0 and d = 0
  double weight_decay = 0;  // added to the gradient
};

class Sgd final : public Optimizer {
 public:
  Sgd(std::vector<Parameter> parameters, const SgdOptions& options);

 protected:
  void update(std::span<const Update> updates, const Tensor& gate, const Tensor& steps) override;
  Tensor steps(std::span<const Update> updates) override;

 private:
  std::vector<kernels::SgdTerm> terms(std::span<const Update> updates) const;
  kernels::SgdRule rule() const { return {options_.momentum, options_.dampening, options_.nesterov}; }

  SgdOptions options_;
};

}  // namespace mora
