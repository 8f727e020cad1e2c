#include "mora/training/update_plan.h"

#include <algorithm>
#include <cmath>

namespace mora {

EpochPlan epoch_plan(const Config& config, std::span<const int32_t> lengths, uint64_t epoch) {
  const TrainConfig& t = config.train;
  return plan_epoch(lengths,
                    {.batch_size = t.batch_size.value_or(32),
                     .batch_tokens = t.batch_tokens.value_or(0),
                     .shuffle = config.data->shuffle,
                     .packing = config.data->packing,
                     .seed = uint64_t(t.seed)},
                    epoch);
}

int64_t updates_per_epoch(const TrainConfig& config, const EpochPlan& plan) {
  return (plan.size() + config.accumulate - 1) / config.accumulate;
}

int64_t total_updates(const TrainConfig& config, const EpochPlan& plan) {
  if (config.steps) return *config.steps;
  const double updates = config.epochs.value_or(3) * double(updates_per_epoch(config, plan));
  return std::max<int64_t>(1, int64_t(std::ceil(updates - 1e-9)));
}

}  // namespace mora
