// Sums and maxima over the threads that share a row, in an order that does not depend on timing.
#pragma once

#include "kernels/cuda/arrays.h"

namespace mora::kernels::cuda {

struct Sum {
  template <class C>
  SIMT_DEVICE C operator()(C a, C b) const {
    return a + b;
  }
};
// Of a number and a NaN: the number.
struct Maximum {
  template <class C>
  SIMT_DEVICE C operator()(C a, C b) const {
    return a > b || b != b ? a : b;
  }
};

// The threads that share a row: a warp, or a block of `size`.
template <int size>
struct Team {
  static_assert(size % simt::warp_size == 0);

  static SIMT_DEVICE int rank() { return simt::thread_index() % size; }
  // This thread's team among all of the grid, and their number.
  static SIMT_DEVICE int64_t index() { return simt::global_index() / size; }
  static SIMT_DEVICE int64_t count() { return simt::global_size() / size; }

  // The values of all threads of the team as one, for each of them. All of them must come by.
  template <class F, class C>
  static SIMT_DEVICE C combined(C value, F f) {
    for (int mask = simt::warp_size / 2; mask > 0; mask /= 2) value = f(value, simt::shuffle_xor(value, mask));
    if constexpr (size > simt::warp_size) {
      const auto parts = simt::shared<C, size / simt::warp_size, Team>();
      if (simt::lane() == 0) parts[simt::warp()] = value;
      simt::barrier();
      value = parts[0];
      for (int i = 1; i < size / simt::warp_size; ++i) value = f(value, C(parts[i]));
      simt::barrier();  // the next call writes the parts again
    }
    return value;
  }
  template <class C>
  static SIMT_DEVICE C sum(C value) {
    return combined(value, Sum{});
  }
  template <class C>
  static SIMT_DEVICE C maximum(C value) {
    return combined(value, Maximum{});
  }
};

}  // namespace mora::kernels::cuda
