// Softmax over the last dimension, and the loss built on it. Contiguous (N, V); arithmetic in f32 (f64 for f64).
#pragma once

#include "kernels/dispatch.h"

namespace mora::kernels {

// y = exp(x − max) / Σ
MORA_KERNEL(softmax, const Tensor& x, Tensor& y);
// gx = y·(gy − Σ gy·y)
MORA_KERNEL(softmax_backward, const Tensor& y, const Tensor& gy, Tensor& gx);
// y = x − logsumexp(x)
MORA_KERNEL(log_softmax, const Tensor& x, Tensor& y);
// gx = gy − exp(y)·Σ gy
MORA_KERNEL(log_softmax_backward, const Tensor& y, const Tensor& gy, Tensor& gx);
// loss[n] = logsumexp(x[n]) − x[n, labels[n]]; 0 where the label is negative (ignored).  labels i32 (N), loss and lse
// (N): f32, f64 for f64. Throws ShapeError on a label ≥ V (from CUDA when next waited for; till then the loss is NaN).
MORA_KERNEL(cross_entropy, const Tensor& x, const Tensor& labels, Tensor& loss, Tensor& lse);
// gx[n, v] = gloss[n]·(exp(x[n, v] − lse[n]) − [v = labels[n]]); a zero row where the label is negative. gx may be x
// itself (in place).
MORA_KERNEL(cross_entropy_backward, const Tensor& x, const Tensor& labels, const Tensor& lse, const Tensor& gloss,
            Tensor& gx);

}  // namespace mora::kernels
