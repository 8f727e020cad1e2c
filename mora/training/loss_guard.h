// Watches the training loss for spikes and for a run that has exploded.
//
//   spike     loss > 4 · the median of the last 21 losses
//   exploded  `patience` updates in a row with loss > 10 · the median of the run's first 21 losses: worse by far than
//             where it began, which no learning rate of a warm-up explains
//
// Losses of zero or below (where a penalty is subtracted) have no such scale: nothing is judged then.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace mora {

// Part of a checkpoint, so that a resumed run judges as one that never stopped.
struct LossHistory {
  std::vector<double> recent;   // the last 21, oldest first
  double start = 0;             // median of the first 21; 0 until there are so many
  int64_t spikes = 0;           // since the start of the run
  int64_t far_above_start = 0;  // updates in a row
};

// The median that `loss` is a spike against, if it is one; then counts `loss` in. Finite losses only.
std::optional<double> observe(LossHistory& history, double loss);

}  // namespace mora
