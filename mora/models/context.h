// What a forward pass carries besides tensors.
#pragma once

#include "engine/random.h"
#include "engine/tensor.h"

namespace mora {

// Names the update a forward pass belongs to (dropout and router noise are drawn from it) and collects what layers add
// to the loss (balance losses, ponder costs).
struct Context {
  bool training = false;
  bool recompute = false;  // blocks keep their inputs alone for the backward, which runs them again
  uint64_t seed = 0;
  uint64_t epoch = 0;
  uint64_t step = 0;  // micro-batches since the start
  Tensors losses;     // scalars, already weighted

  RandomKey key(uint64_t layer, Purpose purpose) const { return {seed, epoch, step, layer, purpose}; }
};

}  // namespace mora
