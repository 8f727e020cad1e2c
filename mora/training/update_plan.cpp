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

int64_t total_updates(const Config& config, std::span<const int32_t> lengths) {
  if (config.train.steps) return *config.train.steps;
  const double epochs = config.train.epochs.value_or(3);
  // Batches of a number of rows are as many in each epoch; those of a number of tokens are not.
  const auto whole = int64_t(config.train.batch_tokens ? epochs : 0);
  double updates = 0;
  for (int64_t e = 0; e < whole; ++e)
    updates += double(updates_per_epoch(config.train, epoch_plan(config, lengths, uint64_t(e))));
  if (epochs > double(whole))
    updates += (epochs - double(whole)) *
               double(updates_per_epoch(config.train, epoch_plan(config, lengths, uint64_t(whole))));
  return std::max<int64_t>(1, int64_t(std::ceil(updates - 1e-9)));
}

}  // namespace mora
