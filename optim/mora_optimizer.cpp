#include "optim/mora_optimizer.h"

#include <cmath>
#include <limits>

#include "optim/adamw.h"
#include "optim/clip.h"
#include "optim/sgd.h"

namespace mora {
namespace {

std::unique_ptr<Optimizer> make_base(std::vector<Parameter> parameters, const MoRAOptimizerOptions& o) {
  if (o.kind == "sgd")
    return std::make_unique<Sgd>(std::move(parameters),
                                 SgdOptions{.momentum = o.momentum, .weight_decay = o.weight_decay});
  require<ConfigError>(o.kind == "adamw", "optimizer.kind: '{}': expected sgd or adamw", o.kind);
  return std::make_unique<AdamW>(
      std::move(parameters),
      AdamWOptions{.beta1 = o.betas[0], .beta2 = o.betas[1], .eps = o.eps, .weight_decay = o.weight_decay});
}

}  // namespace

MoRAOptimizer::MoRAOptimizer(std::vector<Parameter> parameters, const MoRAOptimizerOptions& options)
    : base_(make_base(std::move(parameters), options)), clip_(options.clip) {}

MoRAOptimizer::Outcome MoRAOptimizer::step(std::span<Tensor> gradients, double lr) {
  constexpr double no_limit = std::numeric_limits<double>::infinity();
  Outcome outcome{.gradient_norm = clip_grad_norm(gradients, clip_.value_or(no_limit))};
  if (!std::isfinite(outcome.gradient_norm)) {
    for (size_t i = 0; i < gradients.size() && outcome.not_finite.empty(); ++i) {
      if (gradients[i].defined() && !std::isfinite(clip_grad_norm(gradients.subspan(i, 1), no_limit)))
        outcome.not_finite = parameters()[i].name;
    }
    return outcome;
  }
  base_->step(gradients, lr);
  outcome.applied = true;
  return outcome;
}

}  // namespace mora
