// Where a thread finds element i, in row-major order, of tensors with any strides.
#pragma once

#include "kernels/cuda/arrays.h"
#include "kernels/cuda/walk_view.h"

namespace mora::kernels::cuda {

template <int K>
struct Offsets {
  int64_t at[K];
};

namespace detail {

template <class Index, int K>
SIMT_DEVICE Offsets<K> divided(const WalkView<K>& walk, Index rest) {
  Offsets<K> offsets{};
  for (int d = walk.rank - 1; d > 0; --d) {
    const Index above = rest / Index(walk.shape[d]);
    const auto index = int64_t(rest - above * Index(walk.shape[d]));
    for (int k = 0; k < K; ++k) offsets.at[k] += index * walk.strides[k][d];
    rest = above;
  }
  for (int k = 0; k < K; ++k) offsets.at[k] += int64_t(rest) * walk.strides[k][0];
  return offsets;
}

}  // namespace detail

// A division in 64 bits takes many times as long as one in 32, which is nearly always enough.
template <int K>
SIMT_DEVICE Offsets<K> offsets_of(const WalkView<K>& walk, int64_t i) {
  return walk.size <= INT32_MAX ? detail::divided(walk, uint32_t(i)) : detail::divided(walk, uint64_t(i));
}

}  // namespace mora::kernels::cuda
