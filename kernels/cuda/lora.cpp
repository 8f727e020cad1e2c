// A frozen linear with a low-rank adapter on a card: the products of kernels/cuda/matmul.cpp.
#include "kernels/lora.h"

#include "kernels/product_checks.h"

namespace mora::kernels::cuda {

void lora_linear(const Tensor& x, const FrozenWeight& w, const Tensor& a, const Tensor& b, Tensor& y, Tensor& h,
                 double scale) {
  check_lora("lora_linear", x, a, b, y, h);
  compose_lora_linear(x, w, a, b, y, h, scale);
}

void lora_linear_backward(const Tensor& x, const FrozenWeight& w, const Tensor& a, const Tensor& b, const Tensor& h,
                          const Tensor& gy, Tensor& gx, Tensor& ga, Tensor& gb, double scale) {
  check_lora("lora_linear_backward", x, a, b, gy, h);
  compose_lora_linear_backward(x, w, a, b, h, gy, gx, ga, gb, scale);
}

}  // namespace mora::kernels::cuda
