// Tensors of one shape as the walk of a kernel. For the host compiler.
#pragma once

#include "kernels/cuda/tensor_view.h"
#include "kernels/cuda/walk_view.h"
#include "kernels/strided.h"

namespace mora::kernels::cuda {

// The elements from x's first to its last in memory, for a walk.
inline View strided_view(const Tensor& x) {
  int64_t last = 0;
  for (int i = 0; i < x.rank(); ++i) {
    invariant(x.strides()[i] >= 0, "a tensor {} with strides {} on cuda", x.shape(), x.strides());
    last += (x.dim(i) - 1) * x.strides()[i];
  }
  return {const_cast<void*>(x.raw()), x.numel() == 0 ? 0 : last + 1, x.dtype()};
}
inline View strided_output(Tensor& x) {
  View view = strided_view(x);
  view.data = x.mutable_raw();
  return view;
}

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
