#include "optim/lamb.h"

namespace mora {

Lamb::Lamb(std::vector<Parameter> parameters, const LambOptions& options)
    : Optimizer(std::move(parameters), {"mean", "square"}, options.weight_decay), options_(options) {
  for (double beta : {options.beta1, options.beta2})
    require<ConfigError>(beta >= 0 && beta < 1, "lamb: betas: {}: expected 0 ≤ beta < 1", beta);
  require<ConfigError>(options.eps >= 0, "lamb: eps: {}: expected at least 0", options.eps);
  require<ConfigError>(options.norm_floor >= 0, "lamb: norm_floor {}: expected at least 0", options.norm_floor);
}

std::vector<kernels::LambTerm> Lamb::terms(std::span<const Update> updates) const {
  std::vector<kernels::LambTerm> terms;
  for (const Update& u : updates)
    terms.push_back({.parameter = u.parameter.value,
                     .gradient = u.gradient,
                     .mean = u.moments.tensors[0],
                     .square = u.moments.tensors[1],
                     .lr = u.lr,
                     .weight_decay = u.weight_decay,
                     .step = u.number,
                     .trust = u.parameter.is_weight});
  return terms;
}

void Lamb::update(std::span<const Update> updates, const Tensor& gate, const Tensor& steps) {
  std::vector<kernels::LambTerm> all = terms(updates);
  kernels::lamb_update(all, rule(), gate, steps);
}

Tensor Lamb::steps(std::span<const Update> updates) {
  std::vector<kernels::LambTerm> all = terms(updates);
  return kernels::lamb_steps(all, rule());
}

}  // namespace mora
