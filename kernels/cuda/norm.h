// Launches of the norms' kernels (kernels/cuda/norm.cu). x, y, gy, gx: rows · length elements of one floating dtype; w,
// b: length, of that dtype or the arithmetic's; mean, rstd: rows, of the arithmetic's. A view without data is absent.
#pragma once

#include <algorithm>

#include "kernels/cuda/view.h"

namespace mora::kernels::cuda {

// RMS norm where mean is absent; b may be absent.
void launch_norm(View x, View w, View b, View y, View mean, View rstd, double eps);
void launch_norm_backward(View x, View w, View mean, View rstd, View gy, View gx);

// gw and gb are summed in two stages: of each part of the rows, then of the parts.
inline int64_t norm_rows_of_part(int64_t rows) { return std::max<int64_t>(64, (rows + 1023) / 1024); }
inline int64_t norm_parts(int64_t rows) { return (rows + norm_rows_of_part(rows) - 1) / norm_rows_of_part(rows); }
// parts_w, parts_b: scratch of norm_parts(rows) · length elements of the arithmetic's dtype; absent where gw, gb are.
void launch_norm_weight_gradients(View x, View mean, View rstd, View gy, View gw, View gb, View parts_w, View parts_b);

}  // namespace mora::kernels::cuda
