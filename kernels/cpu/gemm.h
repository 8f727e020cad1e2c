// The matrix products behind kernels/matmul.h, one a library or method.
#pragma once

#include "kernels/product_checks.h"

namespace mora::kernels::cpu {

// Eigen; f64.
void gemm_eigen(const Gemm& g, const void* a, const void* b, void* y);

// oneDNN (kernels/cpu/onednn.cpp); f32 or bf16 inputs, output of the inputs' dtype or f32.
void gemm_onednn(const Gemm& g, const void* a, const void* b, void* y);

// Our own, for products too narrow for oneDNN's blocking; f32 or bf16 inputs and output, arithmetic in f32. No result
// depends on the number of threads.
bool is_skinny(const Gemm& g);
void gemm_skinny(const Gemm& g, const void* a, const void* b, void* y);

}  // namespace mora::kernels::cpu
