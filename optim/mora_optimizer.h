// The trainer's one door to optimizers: a base optimizer, clipping, and the guard against gradients that are not
// finite.
#pragma once

#include <array>
#include <memory>
#include <string>

#include "optim/optimizer.h"

namespace mora {

struct MoRAOptimizerOptions {
  std::string kind = "adamw";  // sgd, adamw
  std::array<double, 2> betas{0.9, 0.999};
  double eps = 1e-8;
  double weight_decay = 0.01;
  double momentum = 0.9;       // sgd
  std::optional<double> clip;  // the largest global norm
};

class MoRAOptimizer {
 public:
  // Throws ConfigError for an unknown kind.
  MoRAOptimizer(std::vector<Parameter> parameters, const MoRAOptimizerOptions& options);

  struct Outcome {
    double gradient_norm = 0;     // before clipping
    bool applied = false;         // false: the norm is not finite and nothing was changed
    std::string not_finite = "";  // then: the first parameter whose gradient is not
  };
  // Clips the gradients in place (parameters()[i] ↔ gradients[i]) and updates with learning rate `lr`.
  Outcome step(std::span<Tensor> gradients, double lr);

  const std::vector<Parameter>& parameters() const { return base_->parameters(); }
  std::vector<NamedTensor> state() const { return base_->state(); }
  void load_state(std::span<const NamedTensor> saved) { base_->load_state(saved); }

  // Rank events, as Optimizer's.
  void resize(size_t i, Tensor value, const std::function<Tensor(const Tensor&)>& select) {
    base_->resize(i, std::move(value), select);
  }
  void restart(size_t i, Tensor value) { base_->restart(i, std::move(value)); }

 private:
  std::unique_ptr<Optimizer> base_;
  std::optional<double> clip_;
};

}  // namespace mora
