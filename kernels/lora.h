// The update of a low-rank adapter and its gradients (Hu et al. 2021, arXiv 2106.09685): y += scale·(x·Aᵀ)·Bᵀ.
#pragma once

#include "kernels/dispatch.h"

namespace mora::kernels {

// h = scale·x·Aᵀ, y += h·Bᵀ.  x (N, k), A (r, k), B (d, r), y (N, d), h (N, r); contiguous, one floating dtype
MORA_KERNEL(lora_update, const Tensor& x, const Tensor& a, const Tensor& b, Tensor& y, Tensor& h, double scale);
// gx += gh·A, gA = ghᵀ·x, gB = gyᵀ·h, gh = scale·gy·B; each where defined.
MORA_KERNEL(lora_update_backward, const Tensor& x, const Tensor& a, const Tensor& b, const Tensor& h, const Tensor& gy,
            Tensor& gx, Tensor& ga, Tensor& gb, double scale);

// Both by matmul, on any device, of tensors that were checked: what has no kernel of its own, or none for these sizes.
void compose_lora_update(const Tensor& x, const Tensor& a, const Tensor& b, Tensor& y, Tensor& h, double scale);
void compose_lora_update_backward(const Tensor& x, const Tensor& a, const Tensor& b, const Tensor& h, const Tensor& gy,
                                  Tensor& gx, Tensor& ga, Tensor& gb, double scale);

}  // namespace mora::kernels
