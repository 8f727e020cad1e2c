// Which rows make which update of a run.
#pragma once

#include <span>

#include "loaders/batch.h"
#include "mora/training/config.h"

namespace mora {

// The batches of an epoch of training rows with these lengths.
EpochPlan epoch_plan(const Config& config, std::span<const int32_t> lengths, uint64_t epoch);

// `accumulate` batches make an update, fewer at an epoch's end.
int64_t updates_per_epoch(const TrainConfig& config, const EpochPlan& plan);
// train.steps, or those of train.epochs of training rows with these lengths.
int64_t total_updates(const Config& config, std::span<const int32_t> lengths);

}  // namespace mora
