// Products of rows in groups, each group with a matrix of its own: what experts are computed with. Rows are read and
// added where they lie, so that nothing as wide as x is gathered.
//
// The three are the derivatives of one form, Σ_s Σ_j Σ_i h[s,j]·x[rows[s],i]·W_e(s)[j,i], so each other's too.
#pragma once

#include <vector>

#include "kernels/dispatch.h"

namespace mora::kernels {

struct RowGroups {
  Tensor rows;                   // i32 (S) in [0, N): a row of x for each of h
  std::vector<int64_t> offsets;  // (E+1), rising from 0 to S: rows offsets[e] … offsets[e+1] of h are of group e
};

// x (N, d), W (E, r, d), h (S, r), all contiguous and of one floating dtype; sums in f32 (f64), whose order does not
// depend on the number of threads. Throw ShapeError on a row out of range (from CUDA, when the device is next waited
// for; the row is zero there).
MORA_KERNEL(gather_products, const Tensor& x, const Tensor& w, Tensor& h, const RowGroups& groups);  // h = x[rows]·Wᵀ
MORA_KERNEL(scatter_products, const Tensor& h, const Tensor& w, Tensor& x, const RowGroups& groups);  // x[rows] += h·W,
                                                                                                      // over zeros
MORA_KERNEL(outer_products, const Tensor& h, const Tensor& x, Tensor& w, const RowGroups& groups);  // W = hᵀ·x[rows]

}  // namespace mora::kernels
