#include "kernels/matmul.h"

#include "engine/cuda.h"
#include "kernels/cuda/blas.h"
#include "kernels/cuda/tensor_view.h"

namespace mora::kernels::cuda {
namespace {

void multiply(const Gemm& g, const Tensor& a, const Tensor& b, Tensor& y, const Tensor& bias) {
  if (g.m == 0 || g.n == 0) return;
  if (g.k > 0)
    gemm(g, address(a), address(b), output(y).data, view(bias).data, a.device());
  else if (!g.accumulate)
    mora::cuda::zero(output(y).data, y.bytes(), y.device().index);
}

// The product of a linear layer, with W and b where x is.
void multiply(const Tensor& x, const FrozenWeight& w, Tensor& y, bool forward) {
  require_device_of(x, forward ? "linear" : "linear_backward", y);
  const FrozenWeight::Resident resident = w.resident(x.device(), x.dtype());
  Gemm g{.m = y.dim(0), .n = y.dim(1), .k = x.dim(1), .transpose_b = forward, .input = x.dtype(), .output = y.dtype()};
  Tensor bias = forward ? resident.bias : Tensor();
  if (bias.defined() && (x.dtype() == DType::f64 || g.k == 0)) {  // the library adds none to f64
    auto* row = static_cast<std::byte*>(output(y).data);
    for (int64_t i = 0; i < g.m; ++i, row += bias.bytes())
      mora::cuda::copy(row, y.device(), address(bias), bias.device(), bias.bytes());
    bias = Tensor();
    g.accumulate = true;
  }
  multiply(g, x, resident.weight, y, bias);
}

}  // namespace

void matmul(const Tensor& a, const Tensor& b, Tensor& y, const MatmulShape& shape) {
  const Gemm g = check_matmul(a, b, y, shape);
  require_device_of(a, "matmul", b, y);
  multiply(g, a, b, y, Tensor());
}

void linear(const Tensor& x, const FrozenWeight& w, Tensor& y) {
  check_linear("linear", x, w.in(), y, w.out());
  multiply(x, w, y, true);
}

void linear_backward(const Tensor& gy, const FrozenWeight& w, Tensor& gx) {
  check_linear("linear_backward", gy, w.out(), gx, w.in());
  multiply(gy, w, gx, false);
}

}  // namespace mora::kernels::cuda
