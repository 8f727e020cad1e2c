// Tensors of one shape as the walk of a kernel. For the host compiler.
#pragma once

#include "kernels/cuda/tensor_view.h"
#include "kernels/cuda/walk_view.h"
#include "kernels/strided.h"

namespace mora::kernels::cuda {

template <size_t K>
WalkView<int(K)> walk_view(const StridedWalk<K>& walk) {
  WalkView<int(K)> view;
  view.rank = walk.rank;
  view.size = walk.numel;
  for (size_t d = 0; d < size_t(walk.rank); ++d) {
    view.shape[d] = walk.shape[d];
    for (size_t k = 0; k < K; ++k) view.strides[k][d] = walk.strides[k][d];
  }
  return view;
}

}  // namespace mora::kernels::cuda
