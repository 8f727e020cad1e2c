#include "kernels/lora.h"

#include "kernels/unary.h"

namespace mora::kernels {

void compose_lora_linear(const Tensor& x, const FrozenWeight& w, const Tensor& a, const Tensor& b, Tensor& y, Tensor& h,
                         double scale) {
  linear(x, w, y);
  matmul(x, a, h, {.transpose_b = true});
  affine(h, h, scale, 0);
  matmul(h, b, y, {.transpose_b = true, .accumulate = true});
}

void compose_lora_linear_backward(const Tensor& x, const FrozenWeight& w, const Tensor& a, const Tensor& b,
                                  const Tensor& h, const Tensor& gy, Tensor& gx, Tensor& ga, Tensor& gb, double scale) {
  Tensor gh = Tensor::empty(h.meta());
  matmul(gy, b, gh, {});
  affine(gh, gh, scale, 0);
  if (gx.defined()) {
    linear_backward(gy, w, gx);
    matmul(gh, a, gx, {.accumulate = true});
  }
  if (ga.defined()) matmul(gh, x, ga, {.transpose_a = true});
  if (gb.defined()) matmul(gy, h, gb, {.transpose_a = true});
}

}  // namespace mora::kernels
