// The events of a run that change its adapters' sizes: adapter.adapt, adapter.restart, DynMoE's experts, or none.
#pragma once

#include "mora/rank/expert_events.h"
#include "mora/rank/rank_events.h"
#include "mora/training/config.h"

namespace mora {

// Throws ConfigError where adapter.adapt or adapter.restart meets a layer whose rank is fixed: an embedding's, or what
// an adapter of adapter.init_from has, which may be of another kind than the configuration was checked for.
void check_ranks(const AdapterConfig& adapter, const MoRAModel& model);

class RankPlan {
 public:
  // For a run of `total` updates on a model that passed check_ranks. `model` and `optimizer` outlive it.
  RankPlan(const Config& config, int64_t total, MoRAModel& model, MoRAOptimizer& optimizer);

  bool moves_ranks() const { return allocator_ || restart_; }
  bool has_events() const { return moves_ranks() || experts_; }
  // What the run starts with.
  RankEvent start() const { return ranks_now("ranks", model_); }
  // After update `update` (from 1), made with these gradients, in which the routed layers did this.
  std::optional<RankEvent> after_update(int64_t update, std::span<const Tensor> gradients, const RoutedLayers& routed);

  std::vector<NamedTensor> state() const;
  void load_state(std::span<const NamedTensor> saved);

 private:
  MoRAModel& model_;
  MoRAOptimizer& optimizer_;
  int64_t total_;
  std::optional<RankAllocator> allocator_;
  std::optional<RestartOptions> restart_;
  std::optional<ExpertAllocator> experts_;
};

// Updates of re-warm-up after a rank event.
int64_t rewarm_updates(const AdapterConfig& config);

}  // namespace mora
