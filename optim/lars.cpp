#include "optim/lars.h"

#include <algorithm>

#include "kernels/optimizer.h"

namespace mora {

Lars::Lars(std::vector<Parameter> parameters, const LarsOptions& options)
    : Optimizer(std::move(parameters),
                options.momentum > 0 ? std::vector<std::string>{"momentum"} : std::vector<std::string>{},
                options.weight_decay),
      options_(options) {
  require<ConfigError>(options.momentum >= 0 && options.momentum < 1, "lars: momentum {}: expected 0 ≤ momentum < 1",
                       options.momentum);
  require<ConfigError>(options.trust > 0, "lars: trust {}: expected above 0", options.trust);
  require<ConfigError>(options.eps >= 0, "lars: eps {}: expected at least 0", options.eps);
  require<ConfigError>(options.norm_floor >= 0, "lars: norm_floor {}: expected at least 0", options.norm_floor);
}

double Lars::local_rate(const Update& u, double weight_norm, double gradient_norm) const {
  if (!u.parameter.is_weight || weight_norm <= options_.norm_floor || gradient_norm == 0) return 1;
  const double rate = options_.trust * weight_norm / (gradient_norm + u.weight_decay * weight_norm + options_.eps);
  if (!options_.larc) return rate;
  return u.lr > 0 ? std::min(rate / u.lr, 1.0) : 1;
}

void Lars::update(std::span<const Update> updates, const Tensor& gate, const Tensor&) {
  std::vector<Tensor> tensors;  // weights, then their gradients
  for (const Update& u : updates) tensors.push_back(u.parameter.value);
  for (const Update& u : updates) tensors.push_back(u.gradient);
  const std::vector<double> norms = kernels::norms(tensors);
  std::vector<kernels::SgdTerm> terms;
  for (size_t i = 0; i < updates.size(); ++i) {
    const Update& u = updates[i];
    terms.push_back({.parameter = u.parameter.value,
                     .gradient = u.gradient,
                     .buffer = options_.momentum > 0 ? u.moments.tensors[0] : Tensor(),
                     .lr = u.lr,
                     .weight_decay = u.weight_decay,
                     .first = u.number == 1,
                     .scale = local_rate(u, norms[i], norms[updates.size() + i])});
  }
  kernels::sgd_update(terms, {.momentum = options_.momentum}, gate);
}

}  // namespace mora
