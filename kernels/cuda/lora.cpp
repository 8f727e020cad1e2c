// A low-rank update on a card: the products of kernels/cuda/matmul.cpp.
#include "kernels/lora.h"

#include "kernels/product_checks.h"

namespace mora::kernels::cuda {

void lora_update(const Tensor& x, const Tensor& a, const Tensor& b, Tensor& y, Tensor& h, double scale) {
  check_lora("lora_update", x, a, b, y, h);
  compose_lora_update(x, a, b, y, h, scale);
}

void lora_update_backward(const Tensor& x, const Tensor& a, const Tensor& b, const Tensor& h, const Tensor& gy,
                          Tensor& gx, Tensor& ga, Tensor& gb, double scale) {
  check_lora("lora_update_backward", x, a, b, gy, h);
  compose_lora_update_backward(x, a, b, h, gy, gx, ga, gb, scale);
}

}  // namespace mora::kernels::cuda
