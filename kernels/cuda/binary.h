// Launches of the kernels of two tensors (kernels/cuda/binary.cu). y is contiguous; a, b and condition go along the
// walk.
#pragma once

#include "kernels/cuda/view.h"
#include "kernels/cuda/walk_view.h"
#include "kernels/functions.h"

namespace mora::kernels::cuda {

void launch_binary(View a, View b, View y, const WalkView<2>& walk, Binary f);
void launch_compare(View a, View b, View y, const WalkView<2>& walk, Compare f);
void launch_where(View condition, View a, View b, View y, const WalkView<3>& walk);
void launch_axpy(View x, View y, double alpha);

}  // namespace mora::kernels::cuda
