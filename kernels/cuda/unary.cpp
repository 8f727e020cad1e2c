#include "kernels/unary.h"

#include "kernels/cuda/tensor_view.h"
#include "kernels/cuda/unary.h"

namespace mora::kernels::cuda {
namespace {

template <class... Tensors>
void check(std::string_view op, const Tensor& x, const Tensors&... others) {
  require_floating(op, x);
  require_device_of(x, op, others...);
  check_alike(op, x, {&static_cast<const Tensor&>(others)...});
}

}  // namespace

void unary(const Tensor& x, Tensor& y, Unary f) {
  check("unary", x, y);
  launch_unary(view(x), output(y), f);
}

void unary_backward(const Tensor& x, const Tensor& gy, Tensor& gx, Unary f) {
  check("unary_backward", x, gy, gx);
  invariant(f == Unary::gelu || f == Unary::gelu_tanh || f == Unary::silu,
            "unary_backward: function {} has no backward kernel", int(f));
  launch_unary_backward(view(x), view(gy), output(gx), f);
}

void affine(const Tensor& x, Tensor& y, double scale, double shift) {
  check("affine", x, y);
  launch_affine(view(x), output(y), scale, shift);
}

void power(const Tensor& x, Tensor& y, double exponent) {
  check("power", x, y);
  launch_power(view(x), output(y), exponent);
}

void clamp(const Tensor& x, Tensor& y, double low, double high) {
  check("clamp", x, y);
  launch_clamp(view(x), output(y), low, high);
}

void swiglu(const Tensor& gate, const Tensor& up, Tensor& y) {
  check("swiglu", gate, up, y);
  launch_swiglu(view(gate), view(up), output(y));
}

void swiglu_backward(const Tensor& gate, const Tensor& up, const Tensor& gy, Tensor& ggate, Tensor& gup) {
  check("swiglu_backward", gate, up, gy, ggate, gup);
  launch_swiglu_backward(view(gate), view(up), view(gy), output(ggate), output(gup));
}

void dropout(const Tensor& x, Tensor& y, double p, const RandomKey& key, const Tensor& clock) {
  check("dropout", x, y);
  invariant(p >= 0 && p <= 1, "dropout: p = {}", p);
  require_device_of(x, "dropout", clock);
  launch_dropout(view(x), output(y), p, key, clock.defined() ? view(clock, DType::i64) : View{});
}

}  // namespace mora::kernels::cuda
