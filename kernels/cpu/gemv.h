// y = x·Wᵀ + c for a few rows of x, with W as it lies in memory: what decoding does for each token.
#pragma once

#include <span>

#include "kernels/matmul.h"

namespace mora::kernels::cpu {

// Up to this many rows reading W is what takes the time; above, oneDNN's blocking wins.
inline constexpr int64_t gemv_most_rows = 4;

// How far ahead of its use W is asked for. Measured, in share of the memory's rate that a token of bf16 reaches: on
// Intel (Emerald Rapids) 0.73 without, 0.77 at 1 KB, 0.84 at 2, 0.89 at 3, 0.89 to 0.95 from 4 to 16; on Zen 4 1 to 2.
inline int64_t bytes_ahead() {
#if defined(__x86_64__)
  if (__builtin_cpu_is("intel")) return 8192;
#endif
  return 2048;
}

// y = x·Wᵀ + c by its memory, side by side: another core fetches it in a line or two, where handles of tensors would be
// four in a row.
struct GemvTerm {
  const void* w;      // (n, k) of w_dtype: f32, bf16 or f16
  const float* bias;  // (n), or null
  void* y;            // (m, n) of x's dtype
  int64_t n, k;
  DType w_dtype;
};
// The product of W with x of dtype `x`, f32 or bf16, into y; W by rows is made when it is not there yet.
GemvTerm gemv_term(const FrozenWeight& w, DType x, void* y);

// All terms in one parallel region. x f32 or bf16; arithmetic in f32. A result does not depend on the other rows or
// terms, nor on the number of threads.
void gemv(const Tensor& x, std::span<const GemvTerm> terms);

}  // namespace mora::kernels::cpu
