// Moving and making elements.
#pragma once

#include "kernels/dispatch.h"

namespace mora::kernels {

// y = x for any strides on both sides and any pair of dtypes (floats round to nearest even; to boolean: x ≠ 0).
MORA_KERNEL(copy, const Tensor& x, Tensor& y);
// The same values, row-major, in memory of their own, without history.
inline Tensor copied(const Tensor& x) {
  Tensor y = Tensor::empty(x.meta());
  copy(x, y);
  return y;
}
// y_i = value. y contiguous, any dtype.
MORA_KERNEL(fill, Tensor& y, double value);
// y[n] = table[ids[n]].  table (V, d) contiguous, ids i32 (N) in [0, V), y (N, d); the dtypes of table and y may
// differ. Throws ShapeError on an id out of range (from CUDA, when the device is next waited for; its row is
// zero there).
MORA_KERNEL(gather_rows, const Tensor& table, const Tensor& ids, Tensor& y);
// y[ids[n]] += x[n].  x (N, d), y (V, d), floating, f32 accumulation; deterministic for a fixed number of threads.
MORA_KERNEL(scatter_add_rows, const Tensor& x, const Tensor& ids, Tensor& y);

}  // namespace mora::kernels
