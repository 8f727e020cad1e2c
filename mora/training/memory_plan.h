// What a run will need, told before it starts.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>

#include "mora/training/setup.h"

namespace mora {

struct MemoryPlan {
  int64_t weights_bytes = 0;     // frozen weights, and their copies packed for the products of both directions
  int64_t adapter_bytes = 0;     // trained parameters
  int64_t optimizer_bytes = 0;   // their gradients and moments
  int64_t activation_bytes = 0;  // the most that the longest batch keeps for its backward pass
  int64_t peak_bytes = 0;        // resident memory of the process, or memory of the card
  int64_t steps = 0;
  std::optional<double> seconds_per_step;  // of a batch of mean length; measured only
};

// From the shapes of what is set up.
MemoryPlan plan_from_shapes(const Config& config, TrainingSetup& setup);

// The configuration's setup on its device. Throws DeviceError, before anything is brought there, where there is no such
// device or where it has less memory free than the plan of the shapes.
TrainingSetup set_up_on_device(const Config& config);

// From the shapes, or with `measure` from forward and backward passes of the longest batch (the first is not timed),
// unless the shapes already ask for more than `limit` bytes. Throws what set_up throws.
MemoryPlan plan_memory(const Config& config, bool measure, int64_t limit = std::numeric_limits<int64_t>::max());

// Turns the next knob that saves memory, the cheapest first: smaller batches, more of them an update; activations
// computed twice; bf16. An update stays what it was as long as it can. `max_length`: tokens of a row, at most. False:
// there is none left.
bool give_way(TrainConfig& train, int64_t max_length);

}  // namespace mora
