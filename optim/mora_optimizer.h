// The trainer's one door to optimizers: a base optimizer, SAM around it, clipping, and the guard against gradients that
// are not finite.
#pragma once

#include <array>
#include <memory>
#include <string>

#include "optim/sam.h"

namespace mora {

struct MoRAOptimizerOptions {
  std::string kind = "adamw";  // sgd, adamw, lars, lamb
  std::array<double, 2> betas{0.9, 0.999};
  double eps = 1e-8;
  double weight_decay = 0.01;
  bool amsgrad = false;   // adamw
  double momentum = 0.9;  // sgd, lars
  bool nesterov = false;  // sgd
  double trust = 1e-3;    // lars
  bool larc = false;      // lars
  double norm_floor = 1;  // lars, lamb
  std::optional<SamOptions> sam{};
  std::optional<double> clip{};  // the largest global norm
};

class MoRAOptimizer {
 public:
  // Throws ConfigError for an unknown kind.
  MoRAOptimizer(std::vector<Parameter> parameters, const MoRAOptimizerOptions& options);

  struct Outcome {
    double gradient_norm = 0;     // of what the update follows, before clipping
    bool applied = false;         // false: something is not finite and nothing was changed
    std::string not_finite = "";  // then: what
  };
  // One update with learning rate `lr` from the gradients at the parameters (parameters()[i] ↔ gradients[i]), which are
  // replaced by SAM's and clipped in place. `again` is asked for SAM's second pass.
  Outcome step(Tensors& gradients, double lr, GradientFunction again);

  // An update whose outcome a device does not know yet.
  struct Begun {
    Tensor gradient_norm, gate;  // f64 (1)
    std::vector<bool> had_gradient;
  };
  // As step, without SAM and without waiting: nothing is changed either where `loss`, one number, is not finite.
  Begun begin(Tensors& gradients, double lr, const Tensor& loss = {});
  // An update that a graph does again, as Optimizer's: begin_recorded is recorded, with the tensor that next_steps is
  // written to before each replay; `count` is told of each.
  bool is_recordable() const { return !sam_ && base_->is_recordable(); }
  Begun begin_recorded(Tensors& gradients, const Tensor& steps, const Tensor& loss);
  Tensor next_steps(const Tensors& gradients, double lr) { return base_->next_steps(gradients, lr); }
  void count(const Begun& replayed) { base_->count(replayed.had_gradient, 1); }
  // Waits for the outcome. `gradients`, where they are still there: so that the first that is not finite is named.
  Outcome outcome(const Begun& begun, std::span<Tensor> gradients = {});

  const std::vector<Parameter>& parameters() const { return base_->parameters(); }
  std::vector<NamedTensor> state() const;
  void load_state(std::vector<NamedTensor> saved);

  // Rank events, as Optimizer's.
  void resize(size_t i, Tensor value, const std::function<Tensor(const Tensor&)>& select) {
    base_->resize(i, std::move(value), select);
  }
  void restart(size_t i, Tensor value) { base_->restart(i, std::move(value)); }
  void set_rank_scale(size_t i, double scale) { base_->set_rank_scale(i, scale); }

 private:
  Begun clip(Tensors& gradients, const Tensor& loss) const;
  std::string first_not_finite(std::span<Tensor> gradients) const;

  std::unique_ptr<Optimizer> base_;
  std::optional<Sam> sam_;
  std::optional<double> clip_;
};

}  // namespace mora
