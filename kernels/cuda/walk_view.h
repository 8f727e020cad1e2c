// K tensors of one shape and any strides: the dimensions they share, merged where all strides allow it
// (kernels/strided.h); the last is the innermost.
#pragma once

#include <cstdint>

namespace mora::kernels::cuda {

template <int K>
struct WalkView {
  int rank = 0;
  int64_t size = 0;  // elements
  int64_t shape[8] = {};
  int64_t strides[K][8] = {};
};

}  // namespace mora::kernels::cuda
