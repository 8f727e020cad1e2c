// Launches of the kernels that move elements (kernels/cuda/copy.cu).
#pragma once

#include "kernels/cuda/view.h"
#include "kernels/cuda/walk_view.h"

namespace mora::kernels::cuda {

// Elements of one dtype, between tensors of any strides.
void launch_copy(View x, View y, const WalkView<2>& walk);
// As launch_copy for y_i = x_i, i = r·columns + c, where y is row-major and x has its rows side by side: x's element
// (r, c) is r + c·stride, of each of `count` matrices.
struct Transposed {
  int64_t count, rows, columns;
  int64_t stride, x_matrix, y_matrix;  // between columns of x, matrices of x, and of y
};
void launch_transpose(View x, View y, const Transposed& shape);
// Between two dtypes.
void launch_convert(View x, View y, const WalkView<2>& walk);
// y_i = the element whose bytes are the lower of `bits`.
void launch_fill(View y, uint64_t bits);

// y[n] = table[ids[n]];  y[ids[n]] += x[n]  (kernels/cuda/gather.cu).  Rows of `columns`.
void launch_gather_rows(View table, View ids, View y, int64_t columns, View index_errors);
void launch_scatter_add_rows(View x, View ids, View y, int64_t columns, View index_errors);

}  // namespace mora::kernels::cuda
