#include "optim/adamw.h"

namespace mora {

AdamW::AdamW(std::vector<Parameter> parameters, const AdamWOptions& options)
    : Optimizer(std::move(parameters),
                options.amsgrad ? std::vector<std::string>{"mean", "square", "largest_square"}
                                : std::vector<std::string>{"mean", "square"},
                options.weight_decay),
      options_(options) {
  for (double beta : {options.beta1, options.beta2})
    require<ConfigError>(beta >= 0 && beta < 1, "adamw: betas: {}: expected 0 ≤ beta < 1", beta);
  require<ConfigError>(options.eps >= 0, "adamw: eps: {}: expected at least 0", options.eps);
}

std::vector<kernels::AdamWTerm> AdamW::terms(std::span<const Update> updates) const {
  std::vector<kernels::AdamWTerm> terms;
  for (const Update& u : updates)
    terms.push_back({.parameter = u.parameter.value,
                     .gradient = u.gradient,
                     .mean = u.moments.tensors[0],
                     .square = u.moments.tensors[1],
                     .largest = options_.amsgrad ? u.moments.tensors[2] : Tensor(),
                     .lr = u.lr,
                     .weight_decay = u.weight_decay,
                     .step = u.number});
  return terms;
}

void AdamW::update(std::span<const Update> updates, const Tensor& gate, const Tensor& steps) {
  std::vector<kernels::AdamWTerm> all = terms(updates);
  kernels::adamw_update(all, rule(), gate, steps);
}

Tensor AdamW::steps(std::span<const Update> updates) {
  std::vector<kernels::AdamWTerm> all = terms(updates);
  return kernels::adamw_steps(all, rule());
}

}  // namespace mora
