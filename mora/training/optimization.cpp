#include "mora/training/optimization.h"

namespace mora {
namespace {

std::optional<SamOptions> sam_options(const std::optional<SamConfig>& sam) {
  if (!sam) return std::nullopt;
  const SamKind kind = sam->kind == "asam" ? SamKind::asam : sam->kind == "looksam" ? SamKind::looksam : SamKind::sam;
  return SamOptions{.kind = kind, .rho = sam->rho, .eta = sam->eta, .interval = sam->interval, .alpha = sam->alpha};
}

}  // namespace

std::vector<Parameter> parameters_of(MoRAModel& model, const OptimizerConfig& config) {
  std::vector<Parameter> parameters;
  model.visit_parameters([&](const std::string& name, Tensor& value) {
    Parameter p{.name = name, .value = value, .is_weight = value.rank() > 1};
    if (!p.is_weight) p.weight_decay = 0;
    if (config.head_lr && name.starts_with("classifier.")) p.lr_scale = *config.head_lr / config.lr;
    if (config.embedding_lr && name.find(".lora_embedding_") != std::string::npos)
      p.lr_scale = *config.embedding_lr / config.lr;
    if (name.ends_with(".lora_B")) p.lr_scale = config.lora_plus;
    parameters.push_back(std::move(p));
  });
  return parameters;
}

MoRAOptimizerOptions optimizer_options(const Config& c) {
  return {.kind = c.optimizer.kind,
          .betas = c.optimizer.betas,
          .eps = c.optimizer.eps,
          .weight_decay = c.optimizer.weight_decay,
          .amsgrad = c.optimizer.amsgrad,
          .momentum = c.optimizer.momentum,
          .nesterov = c.optimizer.nesterov,
          .trust = c.optimizer.trust,
          .larc = c.optimizer.larc,
          .norm_floor = c.optimizer.norm_floor,
          .sam = sam_options(c.optimizer.sam),
          .clip = c.train.clip};
}

}  // namespace mora
