// Normalisation over the last dimension. x (N, d) contiguous; w, b (d) of x's dtype or f32; statistics f32 (f64 for
// f64).
#pragma once

#include "kernels/dispatch.h"

namespace mora::kernels {

// y = (x − mean)·rstd·w + b,  rstd = (var + eps)^−½, biased variance.   Ba et al. 2016, "Layer Normalization"
// mean, rstd (N).
MORA_KERNEL(layer_norm, const Tensor& x, const Tensor& w, const Tensor& b, Tensor& y, Tensor& mean, Tensor& rstd,
            double eps);
// Gradients of layer_norm; gx, gw, gb are computed where defined.
MORA_KERNEL(layer_norm_backward, const Tensor& x, const Tensor& w, const Tensor& mean, const Tensor& rstd,
            const Tensor& gy, Tensor& gx, Tensor& gw, Tensor& gb);
// y = x·rstd·w,  rstd = (mean(x²) + eps)^−½.   Zhang & Sennrich 2019, "Root Mean Square Layer Normalization".  rstd
// (N).
MORA_KERNEL(rms_norm, const Tensor& x, const Tensor& w, Tensor& y, Tensor& rstd, double eps);
MORA_KERNEL(rms_norm_backward, const Tensor& x, const Tensor& w, const Tensor& rstd, const Tensor& gy, Tensor& gx,
            Tensor& gw);

}  // namespace mora::kernels
