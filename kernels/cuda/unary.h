// Launches of the element-wise kernels (kernels/cuda/unary.cu); all views have one size and one floating dtype.
#pragma once

#include "engine/random.h"
#include "kernels/cuda/view.h"
#include "kernels/functions.h"

namespace mora::kernels::cuda {

void launch_unary(View x, View y, Unary f);
void launch_unary_backward(View x, View gy, View gx, Unary f);
void launch_affine(View x, View y, double scale, double shift);
void launch_power(View x, View y, double exponent);
void launch_clamp(View x, View y, double low, double high);
void launch_swiglu(View gate, View up, View y);
void launch_swiglu_backward(View gate, View up, View gy, View ggate, View gup);
void launch_dropout(View x, View y, double p, const RandomKey& key, View clock);

}  // namespace mora::kernels::cuda
