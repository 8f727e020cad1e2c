// The matrix products behind kernels/matmul.h, one a library or method: y = op(a)·op(b) [+ y], row-major.
#pragma once

#include "kernels/matmul.h"

namespace mora::kernels::cpu {

// y (m, n), op(a) (m, k), op(b) (k, n), op = transpose where asked.
struct Gemm {
  int64_t m = 0, n = 0, k = 0;
  bool transpose_a = false, transpose_b = false, accumulate = false;
  DType input = DType::f32, output = DType::f32;
  bool operator==(const Gemm&) const = default;
};

// Eigen; f64.
void gemm_eigen(const Gemm& g, const void* a, const void* b, void* y);

// oneDNN (kernels/cpu/onednn.cpp); f32 or bf16 inputs, output of the inputs' dtype or f32.
void gemm_onednn(const Gemm& g, const void* a, const void* b, void* y);

// Our own, for products too narrow for oneDNN's blocking; f32 or bf16 inputs and output, arithmetic in f32. No result
// depends on the number of threads.
bool is_skinny(const Gemm& g);
void gemm_skinny(const Gemm& g, const void* a, const void* b, void* y);

}  // namespace mora::kernels::cpu
