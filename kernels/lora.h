// A frozen linear with a low-rank adapter (Hu et al. 2021, arXiv 2106.09685), and its gradients.
#pragma once

#include "kernels/matmul.h"

namespace mora::kernels {

// h = scale·x·Aᵀ, y = x·Wᵀ + c + h·Bᵀ.  x (N, k), A (r, k), B (d, r), y (N, d), h (N, r); contiguous, one floating
// dtype
MORA_KERNEL(lora_linear, const Tensor& x, const FrozenWeight& w, const Tensor& a, const Tensor& b, Tensor& y, Tensor& h,
            double scale);
// gx = gy·W + gh·A, gA = ghᵀ·x, gB = gyᵀ·h, gh = scale·gy·B; each where defined.
MORA_KERNEL(lora_linear_backward, const Tensor& x, const FrozenWeight& w, const Tensor& a, const Tensor& b,
            const Tensor& h, const Tensor& gy, Tensor& gx, Tensor& ga, Tensor& gb, double scale);

// Both by linear and matmul, on any device, of tensors that were checked: what has no kernel of its own, or none for
// these sizes.
void compose_lora_linear(const Tensor& x, const FrozenWeight& w, const Tensor& a, const Tensor& b, Tensor& y, Tensor& h,
                         double scale);
void compose_lora_linear_backward(const Tensor& x, const FrozenWeight& w, const Tensor& a, const Tensor& b,
                                  const Tensor& h, const Tensor& gy, Tensor& gx, Tensor& ga, Tensor& gb, double scale);

}  // namespace mora::kernels
