// Matrix products by cuBLASLt, which is loaded when first used: a program starts without it. On the tests' emulator a
// stand-in takes its place (tests/simt/blas_stand_in.cpp).
#pragma once

#include "kernels/product_checks.h"

namespace mora::kernels::cuda {

// y = op(a)·op(b) [+ y] [+ bias], as Gemm says; bias (n) of y's dtype or null; m, n, k > 0; all contiguous and on
// `device`. Sums in f32 (f64 for f64), f32 products exact rather than TF32; the same bits each time. Throws DeviceError
// where the library cannot be loaded or takes no such product.
void gemm(const Gemm& g, const void* a, const void* b, void* y, const void* bias, Device device);

}  // namespace mora::kernels::cuda
