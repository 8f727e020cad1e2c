#include "optim/sgd.h"

namespace mora {

Sgd::Sgd(std::vector<Parameter> parameters, const SgdOptions& options)
    : Optimizer(std::move(parameters),
                options.momentum > 0 ? std::vector<std::string>{"momentum"} : std::vector<std::string>{},
                options.weight_decay),
      options_(options) {
  require<ConfigError>(options.momentum >= 0 && options.momentum < 1, "sgd: momentum {}: expected 0 ≤ momentum < 1",
                       options.momentum);
  require<ConfigError>(!options.nesterov || (options.momentum > 0 && options.dampening == 0),
                       "sgd: nesterov needs a momentum above 0 and no dampening");
}

std::vector<kernels::SgdTerm> Sgd::terms(std::span<const Update> updates) const {
  std::vector<kernels::SgdTerm> terms;
  for (const Update& u : updates)
    terms.push_back({.parameter = u.parameter.value,
                     .gradient = u.gradient,
                     .buffer = options_.momentum > 0 ? u.moments.tensors[0] : Tensor(),
                     .lr = u.lr,
                     .weight_decay = u.weight_decay,
                     .first = u.number == 1});
  return terms;
}

void Sgd::update(std::span<const Update> updates, const Tensor& gate, const Tensor& steps) {
  std::vector<kernels::SgdTerm> all = terms(updates);
  kernels::sgd_update(all, rule(), gate, steps);
}

Tensor Sgd::steps(std::span<const Update> updates) {
  std::vector<kernels::SgdTerm> all = terms(updates);
  return kernels::sgd_steps(all, rule());
}

}  // namespace mora
