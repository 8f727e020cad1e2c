#include "optim/mora_optimizer.h"

#include <cmath>
#include <limits>

#include "kernels/optimizer.h"
#include "optim/adamw.h"
#include "optim/clip.h"
#include "optim/lamb.h"
#include "optim/lars.h"
#include "optim/sgd.h"

namespace mora {
namespace {

constexpr double no_limit = std::numeric_limits<double>::infinity();

std::unique_ptr<Optimizer> make_base(std::vector<Parameter> parameters, const MoRAOptimizerOptions& o) {
  if (o.kind == "sgd")
    return std::make_unique<Sgd>(
        std::move(parameters),
        SgdOptions{.momentum = o.momentum, .nesterov = o.nesterov, .weight_decay = o.weight_decay});
  if (o.kind == "lars")
    return std::make_unique<Lars>(std::move(parameters), LarsOptions{.trust = o.trust,
                                                                     .momentum = o.momentum,
                                                                     .eps = o.eps,
                                                                     .norm_floor = o.norm_floor,
                                                                     .weight_decay = o.weight_decay,
                                                                     .larc = o.larc});
  if (o.kind == "lamb")
    return std::make_unique<Lamb>(std::move(parameters), LambOptions{.beta1 = o.betas[0],
                                                                     .beta2 = o.betas[1],
                                                                     .eps = o.eps,
                                                                     .norm_floor = o.norm_floor,
                                                                     .weight_decay = o.weight_decay});
  require<ConfigError>(o.kind == "adamw", "optimizer.kind: '{}': expected sgd, adamw, lars or lamb", o.kind);
  return std::make_unique<AdamW>(std::move(parameters), AdamWOptions{.beta1 = o.betas[0],
                                                                     .beta2 = o.betas[1],
                                                                     .eps = o.eps,
                                                                     .weight_decay = o.weight_decay,
                                                                     .amsgrad = o.amsgrad});
}

}  // namespace

MoRAOptimizer::MoRAOptimizer(std::vector<Parameter> parameters, const MoRAOptimizerOptions& options)
    : base_(make_base(std::move(parameters), options)), clip_(options.clip) {
  if (options.sam) sam_.emplace(base_->parameters(), *options.sam);
}

MoRAOptimizer::Outcome MoRAOptimizer::step(Tensors& gradients, double lr, GradientFunction again) {
  if (sam_) {
    const double norm = clip_grad_norm(gradients, no_limit);
    if (!std::isfinite(norm)) return {.gradient_norm = norm, .not_finite = first_not_finite(gradients)};
    if (!sam_->sharpen(parameters(), gradients, again)) return {.not_finite = "the loss of SAM's second pass"};
  }
  return outcome(begin(gradients, lr), gradients);
}

MoRAOptimizer::Begun MoRAOptimizer::clip(Tensors& gradients, const Tensor& loss) const {
  Tensors defined;
  Begun begun;
  for (const Tensor& g : gradients) {
    begun.had_gradient.push_back(g.defined());
    if (g.defined()) defined.push_back(g);
  }
  const kernels::Clipped clipped = kernels::clip(defined, clip_.value_or(no_limit), loss);
  begun.gradient_norm = clipped.norm;
  begun.gate = clipped.gate;
  return begun;
}

MoRAOptimizer::Begun MoRAOptimizer::begin(Tensors& gradients, double lr, const Tensor& loss) {
  Begun begun = clip(gradients, loss);
  base_->step(gradients, lr, begun.gate);
  return begun;
}

MoRAOptimizer::Begun MoRAOptimizer::begin_recorded(Tensors& gradients, const Tensor& steps, const Tensor& loss) {
  Begun begun = clip(gradients, loss);
  base_->recorded_step(gradients, steps, begun.gate);
  return begun;
}

MoRAOptimizer::Outcome MoRAOptimizer::outcome(const Begun& begun, std::span<Tensor> gradients) {
  Outcome outcome{.gradient_norm = begun.gradient_norm.item(), .applied = !std::isnan(begun.gate.item())};
  if (outcome.applied) return outcome;
  base_->count(begun.had_gradient, -1);
  outcome.not_finite = std::isfinite(outcome.gradient_norm) ? "the loss"
                       : gradients.empty()                  ? "the gradient"
                                                            : first_not_finite(gradients);
  return outcome;
}

std::string MoRAOptimizer::first_not_finite(std::span<Tensor> gradients) const {
  for (size_t i = 0; i < gradients.size(); ++i) {
    if (gradients[i].defined() && !std::isfinite(clip_grad_norm(gradients.subspan(i, 1), no_limit)))
      return "the gradient of " + parameters()[i].name;
  }
  return "the norm of the gradient";
}

std::vector<NamedTensor> MoRAOptimizer::state() const {
  std::vector<NamedTensor> all = base_->state();
  if (!sam_) return all;
  for (NamedTensor& t : sam_->state(parameters())) all.push_back(std::move(t));
  return all;
}

void MoRAOptimizer::load_state(std::vector<NamedTensor> saved) {
  if (sam_) sam_->load_state(parameters(), saved);
  base_->load_state(saved);
}

}  // namespace mora
