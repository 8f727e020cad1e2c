// y = x·Wᵀ + c for a few rows of x, with W as it lies in memory: what decoding does for each token.
#pragma once

#include "engine/tensor.h"

namespace mora::kernels::cpu {

// Up to this many rows reading W is what takes the time; above, oneDNN's blocking wins.
inline constexpr int64_t gemv_most_rows = 4;

// x (m, k), y (m, n) f32 or bf16; W (n, k) contiguous, f32, bf16 or f16; c f32 (n) or undefined; arithmetic in f32. A
// result does not depend on the other rows, nor on the number of threads.
void gemv(const Tensor& x, const Tensor& w, const Tensor& bias, Tensor& y);

}  // namespace mora::kernels::cpu
