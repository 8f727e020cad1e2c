#include "mora/training/rank_plan.h"

#include <algorithm>

#include "mora/adapters/embedding_lora.h"
#include "mora/adapters/lora.h"

namespace mora {
namespace {

AllocationOptions allocation_options(const AdapterConfig& adapter, int64_t total, uint64_t seed) {
  const AdaptConfig& adapt = *adapter.adapt;
  return {.budget = adapt.budget,
          .start = adapt.start.of(total),
          .end = std::min(total, adapt.end.of(total)),
          .interval = adapt.interval,
          .limits = {.least = adapt.min_rank, .most = adapt.max_rank},
          .importance = parse_importance(adapt.importance),
          .scale_lr = adapt.scale_lr,
          .seed = seed};
}

}  // namespace

void check_ranks(const AdapterConfig& adapter, const MoRAModel& model) {
  if (!adapter.adapt && !adapter.restart) return;
  const bool restart = adapter.restart.has_value();
  for (const auto& [path, linear] : model.adapted()) {
    const MoRALayer& layer = linear->layer();
    const auto* lora = dynamic_cast<const LoRA*>(&layer);
    require<ConfigError>(!dynamic_cast<const EmbeddingLoRA*>(&layer),
                         "adapter.{}: module '{}' is an embedding: its rank is fixed; leave it out of adapter.targets",
                         restart ? "restart" : "adapt", path);
    require<ConfigError>(!dynamic_cast<const RoutedLayer*>(&layer),
                         "adapter.{}: module '{}' has experts or adaptive steps: its rank is fixed",
                         restart ? "restart" : "adapt", path);
    require<ConfigError>(!restart || !lora, "adapter.restart: module '{}' has a {} adapter, which does not fold", path,
                         name_of(layer.spec().kind));
    require<ConfigError>(restart || !lora || !lora->has_origin(),
                         "adapter.adapt: module '{}' was initialised from its weight: its rank is fixed", path);
  }
}

RankPlan::RankPlan(const Config& config, int64_t total, MoRAModel& model, MoRAOptimizer& optimizer)
    : model_(model), optimizer_(optimizer), total_(total) {
  const AdapterConfig& adapter = config.adapter;
  if (adapter.adapt)
    allocator_.emplace(model, optimizer, allocation_options(adapter, total, uint64_t(config.train.seed)));
  if (ExpertAllocator::applies_to(model)) {
    const ExpertsConfig experts = adapter.experts.value_or(ExpertsConfig{});
    experts_.emplace(model, optimizer,
                     ExpertAllocationOptions{experts.interval, experts.max_count, uint64_t(config.train.seed)});
  }
  if (!adapter.restart) return;
  restart_ = RestartOptions{.interval = adapter.restart->interval, .operators = {}};
  for (const std::string& word : adapter.restart->operators) restart_->operators.push_back(parse_operator(word));
}

std::optional<RankEvent> RankPlan::after_update(int64_t update, std::span<const Tensor> gradients,
                                                const RoutedLayers& routed) {
  if (allocator_) return allocator_->after_update(update, gradients);
  if (experts_) return experts_->after_update(update, routed);
  if (!restart_ || update % restart_->interval != 0 || update >= total_) return {};
  return restart_all(model_, optimizer_, *restart_, update / restart_->interval - 1);
}

std::vector<NamedTensor> RankPlan::state() const {
  if (experts_) return experts_->state();
  return allocator_ ? allocator_->state() : std::vector<NamedTensor>{};
}

void RankPlan::load_state(std::span<const NamedTensor> saved) {
  if (allocator_) allocator_->load_state(saved);
  if (experts_) experts_->load_state(saved);
}

int64_t rewarm_updates(const AdapterConfig& config) {
  return config.adapt ? config.adapt->rewarm : config.restart ? config.restart->rewarm : 0;
}

}  // namespace mora
