// What kernels/cuda/blas.cpp asks of cuBLASLt, in plain loops over the emulated device's memory. That the calls around
// it fit together is tested with it; the library is not.
#include "kernels/cuda/blas.h"
#include "kernels/cuda/simt.h"
#include "kernels/values.h"

namespace mora::kernels::cuda {
namespace {

double element(const void* data, DType dtype, int64_t i) { return test::element(data, dtype, i); }

void store(void* data, DType dtype, int64_t i, double value) {
  switch (dtype) {
    case DType::f64: static_cast<double*>(data)[i] = value; break;
    case DType::bf16: static_cast<bf16_t*>(data)[i] = bf16_t(float(value)); break;
    case DType::f16: static_cast<f16_t*>(data)[i] = f16_t(float(value)); break;
    default: static_cast<float*>(data)[i] = float(value);
  }
}

void multiply(const Gemm& g, const void* a, const void* b, void* y, const void* bias) {
  for (int64_t row = 0; row < g.m; ++row) {
    for (int64_t column = 0; column < g.n; ++column) {
      const int64_t at = row * g.n + column;
      double sum = g.accumulate ? element(y, g.output, at) : 0;
      if (bias) sum += element(bias, g.output, column);
      for (int64_t k = 0; k < g.k; ++k)
        sum += element(a, g.input, g.transpose_a ? k * g.m + row : row * g.k + k) *
               element(b, g.input, g.transpose_b ? column * g.k + k : k * g.n + column);
      store(y, g.output, at, sum);
    }
  }
}

}  // namespace

void gemm(const Gemm& g, const void* a, const void* b, void* y, const void* bias, Device) {
  simt::emulator::submit([=] { multiply(g, a, b, y, bias); });
}

}  // namespace mora::kernels::cuda
