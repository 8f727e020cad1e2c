#include "kernels/adapted_linear.h"

#include "kernels/binary.h"
#include "kernels/lora.h"

namespace mora::kernels {
namespace {

bool go_together(const Tensor& x, std::span<const AdaptedLinear> linears) {
  return x.device() == mora::cpu && cpu::takes_together(x, linears);
}

}  // namespace

void adapted_linears(const Tensor& x, std::span<const AdaptedLinear> linears, std::span<Tensor> ys,
                     std::span<Tensor> hs) {
  if (go_together(x, linears)) return cpu::adapted_linears(x, linears, ys, hs);
  for (size_t i = 0; i < linears.size(); ++i) {
    const AdaptedLinear& l = linears[i];
    switch (l.adapter) {
      case AdaptedLinear::Adapter::none: linear(x, *l.w, ys[i]); break;
      case AdaptedLinear::Adapter::lora: lora_linear(x, *l.w, l.factors[0], l.factors[1], ys[i], hs[i], l.scale); break;
      case AdaptedLinear::Adapter::mora: mora_linear(x, *l.w, l.factors[0], ys[i], l.op); break;
    }
  }
}

void adapted_linears_backward(const Tensor& x, std::span<const AdaptedLinear> linears, std::span<const Tensor> hs,
                              std::span<const Tensor> gys, Tensor& gx, std::span<std::array<Tensor, 2>> gradients) {
  if (go_together(x, linears)) return cpu::adapted_linears_backward(x, linears, hs, gys, gx, gradients);
  for (size_t i = 0; i < linears.size(); ++i) {
    const AdaptedLinear& l = linears[i];
    auto& [first, second] = gradients[i];
    Tensor own = gx.defined() && i > 0 ? Tensor::empty(gx.meta()) : gx;
    switch (l.adapter) {
      case AdaptedLinear::Adapter::none:
        if (own.defined()) linear_backward(gys[i], *l.w, own);
        break;
      case AdaptedLinear::Adapter::lora:
        lora_linear_backward(x, *l.w, l.factors[0], l.factors[1], hs[i], gys[i], own, first, second, l.scale);
        break;
      case AdaptedLinear::Adapter::mora: mora_linear_backward(x, *l.w, l.factors[0], gys[i], own, first, l.op); break;
    }
    if (own.defined() && i > 0) axpy(own, gx, 1);
  }
}

}  // namespace mora::kernels
