// y = x·Wᵀ + c for a few rows of x, with W as it lies in memory: what decoding does for each token.
#pragma once

#include <span>

#include "engine/tensor.h"

namespace mora::kernels::cpu {

// Up to this many rows reading W is what takes the time; above, oneDNN's blocking wins.
inline constexpr int64_t gemv_most_rows = 4;

// y = x·Wᵀ + c, with x (m, k) that all terms share.
struct GemvTerm {
  Tensor w;     // (n, k) contiguous; f32, bf16 or f16
  Tensor bias;  // f32 (n), or undefined
  Tensor y;     // (m, n), of x's dtype
};

// All terms in one parallel region. x f32 or bf16; arithmetic in f32. A result does not depend on the other rows or
// terms, nor on the number of threads.
void gemv(const Tensor& x, std::span<GemvTerm> terms);

}  // namespace mora::kernels::cpu
