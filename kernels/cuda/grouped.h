// Launches of the products of rows in groups (kernels/grouped.h).
#pragma once

#include "kernels/cuda/view.h"

namespace mora::kernels::cuda {

inline constexpr int most_groups = 1024;

// x (n, d), w (groups, r, d), h (s, r), rows i32 (s); rows offsets[e] … offsets[e+1] of h are of group e. A row out of
// range is remembered, and zero.
struct GroupedView {
  View x, w, h, rows, index_errors;
  int n = 0, r = 0, d = 0, groups = 0;
  int32_t offsets[most_groups + 1] = {};
};
void launch_gather_products(const GroupedView& view);   // h = x[rows]·Wᵀ
void launch_scatter_products(const GroupedView& view);  // x[rows] += h·W, over zeros
void launch_outer_products(const GroupedView& view);    // W = hᵀ·x[rows]

}  // namespace mora::kernels::cuda
