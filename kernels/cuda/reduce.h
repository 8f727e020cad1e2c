// Launches of the reductions (kernels/cuda/reduce.cu, kernels/cuda/segment.cu).
#pragma once

#include "kernels/cuda/view.h"
#include "kernels/functions.h"

namespace mora::kernels::cuda {

// x (outer, reduced, inner) → y (outer, chunks, inner), f over `chunk` of the reduced dimension each; y is of the dtype
// that x is computed in, f32 or f64.
struct ReduceShape {
  int64_t outer, reduced, inner, chunk;
  int64_t chunks() const { return (reduced + chunk - 1) / chunk; }
};
void launch_reduce(View x, View y, const ReduceShape& shape, Reduce f);
// y[i] = Σ x² over the i-th `chunk` of x, f64.
void launch_sum_of_squares(View x, View y, int64_t chunk);
// x (rows, columns), y (rows) i32.
void launch_argmax(View x, View y, int64_t columns);

// rows (N, columns), offsets i32 (B + 1), segments (B, columns).
void launch_segment_mean(View rows, View offsets, View segments, int64_t columns);
void launch_segment_mean_backward(View segments, View offsets, View rows, int64_t columns);

}  // namespace mora::kernels::cuda
