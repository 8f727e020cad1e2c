// Ranks that change while training runs: tensors, gradients and moments are resized, and memory with them.
#pragma once

#include <map>
#include <optional>

#include "mora/mora_model.h"
#include "mora/rank/allocation.h"
#include "mora/rank/budget.h"
#include "mora/rank/importance.h"
#include "optim/mora_optimizer.h"

namespace mora {

// What happened after an update.
struct RankEvent {
  std::string kind;                      // ranks (what a run starts with), allocation, restart, experts
  std::map<std::string, int64_t> ranks;  // by module path, after the event; of kind experts: how many there are
  double mean = 0;                       // of them, each weighted by the parameters that one rank costs there
};

// The ranks of a model's adapters now; modules trained whole have none.
RankEvent ranks_now(const std::string& kind, const MoRAModel& model);

struct AllocationOptions {
  double budget = 0;           // at the end as many parameters as this rank in every layer has
  int64_t start = 0, end = 0;  // updates
  int64_t interval = 1;
  AllocationLimits limits;
  ImportanceKind importance = ImportanceKind::sensitivity;
  bool scale_lr = false;  // MoRAScheduler::rank_scale
  uint64_t seed = 0;      // of what is added
};

// Moves ranks between layers. LoRA, DoRA, AdaLoRA: components are pruned and added with their moments, which leaves the
// function of those kept as it is. MoRA: a layer whose rank changes folds and restarts (MoRA::fold).
class RankAllocator {
 public:
  // `model` and `optimizer` outlive it; the optimizer's parameters are the model's. The initial budget is what the
  // model has now.
  RankAllocator(MoRAModel& model, MoRAOptimizer& optimizer, const AllocationOptions& options);

  // After update `update` (from 1), made with these gradients.
  std::optional<RankEvent> after_update(int64_t update, std::span<const Tensor> gradients);

  // For checkpoints: the initial budget and sizes, and what is known of the importance.
  std::vector<NamedTensor> state() const;
  void load_state(std::span<const NamedTensor> saved);

 private:
  void apply(const LayerParameters& layer, const std::string& path, const LayerAllocation& allocation, int64_t update);
  void scale_rates();

  MoRAModel& model_;
  MoRAOptimizer& optimizer_;
  AllocationOptions options_;
  std::map<std::string, LayerParameters> layers_;  // by module path
  std::vector<int64_t> sizes_;                     // of a component, by layer
  std::vector<double> initial_reach_;              // n₀ of MoRAScheduler::rank_scale, by layer
  std::optional<Importance> importance_;
  BudgetSchedule schedule_;
};

struct RestartOptions {
  int64_t interval = 1;                          // updates
  std::vector<kernels::OperatorKind> operators;  // taken in turn; empty: the operator stays
};

// ReMoRA (Jiang et al. 2024, section 3.4): folds every MoRA layer and restarts it with the next operator, forgetting
// its moments. `number` counts the restarts of the run from 0.
RankEvent restart_all(MoRAModel& model, MoRAOptimizer& optimizer, const RestartOptions& options, int64_t number);

}  // namespace mora
