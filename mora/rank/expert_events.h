// DynMoE's experts, whose count changes while training runs (Guo et al. 2024, "Dynamic Mixture of Experts",
// section 3.2).
#pragma once

#include "mora/experts/routed_layer.h"
#include "mora/rank/rank_events.h"

namespace mora {

struct ExpertAllocationOptions {
  int64_t interval = 100;  // updates
  int64_t most = 16;       // experts a layer
  uint64_t seed = 0;       // of what is added
};

// After each `interval` updates, in each layer: experts that no token used since the last time go, and where tokens
// were let in by no expert's threshold one comes, which looks where those tokens point: W_new = Σ x/‖x‖, normalised.
// Moments follow.
class ExpertAllocator {
 public:
  // `model` and `optimizer` outlive it; the optimizer's parameters are the model's.
  ExpertAllocator(MoRAModel& model, MoRAOptimizer& optimizer, const ExpertAllocationOptions& options)
      : model_(model), optimizer_(optimizer), options_(options) {}

  // Whether a model has such experts.
  static bool applies_to(const MoRAModel& model);
  // After update `update` (from 1), in which the layers did this. Nothing where no count changed.
  std::optional<RankEvent> after_update(int64_t update, const RoutedLayers& routed);

  // For checkpoints: what the layers did since the last event.
  std::vector<NamedTensor> state() const;
  void load_state(std::span<const NamedTensor> saved);

 private:
  RoutedLayer::Change change_of(const RoutedTokens& seen) const;
  void apply(const std::string& path, RoutedLayer& layer, const RoutedLayer::Change& change, int64_t update);

  MoRAModel& model_;
  MoRAOptimizer& optimizer_;
  ExpertAllocationOptions options_;
  RoutedLayers seen_;
};

// Experts of each routed layer, by module path.
std::map<std::string, int64_t> experts_of(const MoRAModel& model);

}  // namespace mora
