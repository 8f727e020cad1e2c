// Reductions. x contiguous; accumulation in f32 (f64 for f64) with a fixed order for a fixed number of threads.
#pragma once

#include "kernels/dispatch.h"
#include "kernels/functions.h"

namespace mora::kernels {

// y = reduction of x over the dimensions whose bit is set in `dims`; y has x's shape with those dimensions 1.
// A maximum over nothing throws ShapeError; a sum over nothing is 0.
MORA_KERNEL(reduce, const Tensor& x, Tensor& y, uint32_t dims, Reduce f);
// y[n] = argmax of row n (the first of equals), i32.  x (N, d), d > 0.
MORA_KERNEL(argmax, const Tensor& x, Tensor& y);
// out (1) f64: the sum of squares of all elements; for gradient norms.
MORA_KERNEL(sum_of_squares, const Tensor& x, Tensor& out);
// y[b] = mean of rows offsets[b] … offsets[b+1] of x; an empty segment gives 0.  x (N, d), offsets i32 (B+1), y (B, d).
MORA_KERNEL(segment_mean, const Tensor& x, const Tensor& offsets, Tensor& y);
// gx[n] = gy[b] / length(b) for the segment b of row n.  gy (B, d), gx (N, d).
MORA_KERNEL(segment_mean_backward, const Tensor& gy, const Tensor& offsets, Tensor& gx);

}  // namespace mora::kernels
