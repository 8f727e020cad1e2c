// Batches filled up, so that few shapes occur and the graph of one serves others (mora/training/step_graphs.h).
#pragma once

#include "loaders/batch.h"
#include "mora/training/config.h"

namespace mora {

// `count` rounded up: to a multiple of 8, or of 1/32 of the next power of two.
int64_t filled_count(int64_t count);

// The batch with one more sequence, of as many tokens as make their number round, that no loss is taken of; its row is
// −1. A language model's, whose sequences have no outputs of their own, has empty ones behind it up to a round number.
PackedBatch filled(const PackedBatch& batch, Task task);

}  // namespace mora
