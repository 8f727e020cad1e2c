#include "autograd/ops/elementary.h"

#include <numbers>

#include "autograd/ops/arithmetic.h"

namespace mora {
namespace ops {
namespace {

using kernels::Unary;

Meta floating(const Meta& x, std::string_view op) {
  require<DTypeError>(is_floating(x.dtype), "{}: expected a floating dtype, not {}", op, name_of(x.dtype));
  return x;
}

}  // namespace

template <Unary F>
Meta Elementary<F>::infer(const Meta& x) const {
  return floating(x, name);
}

template <Unary F>
void Elementary<F>::forward(const Tensor& x, Tensor& y) const {
  kernels::unary(x, y, F);
}

template <Unary F>
Tensors Elementary<F>::vjp(const Saved& s, const Tensor& gy, Need) const {
  if constexpr (saves_output) {
    const Tensor y = s.output(0);
    if constexpr (F == Unary::exp) return {gy * y};
    if constexpr (F == Unary::sqrt) return {gy * affine(reciprocal(y), 0.5)};
    if constexpr (F == Unary::rsqrt) return {gy * affine(y * square(y), -0.5)};
    if constexpr (F == Unary::reciprocal) return {-(gy * square(y))};
    if constexpr (F == Unary::tanh) return {gy * affine(square(y), -1, 1)};
    if constexpr (F == Unary::sigmoid) return {gy * (y * affine(y, -1, 1))};
  } else {
    const Tensor x = s.input(0);
    if constexpr (F == Unary::log) return {gy / x};
    if constexpr (F == Unary::square) return {gy * affine(x, 2)};
    if constexpr (F == Unary::erf) return {gy * affine(exp(-square(x)), 2 * std::numbers::inv_sqrtpi)};
    if constexpr (F == Unary::sin) return {gy * cos(x)};
    if constexpr (F == Unary::cos) return {-(gy * sin(x))};
    if constexpr (F == Unary::relu) return {gy * step(x)};
    if constexpr (F == Unary::absolute) return {gy * sign(x)};
  }
}

template <Unary F>
Meta ActivationFunction<F>::infer(const Meta& x) const {
  return floating(x, name);
}

template <Unary F>
void ActivationFunction<F>::forward(const Tensor& x, Tensor& y) const {
  kernels::unary(x, y, F);
}

template <Unary F>
Tensor ActivationFunction<F>::composite(const Tensor& x) const {
  if constexpr (F == Unary::gelu) return x * affine(erf(affine(x, std::numbers::sqrt2 / 2)), 0.5, 0.5);
  if constexpr (F == Unary::gelu_tanh) {
    const double c = std::numbers::sqrt2 * std::numbers::inv_sqrtpi;  // √(2/π)
    return x * affine(tanh(affine(x + affine(x * square(x), 0.044715), c)), 0.5, 0.5);
  }
  if constexpr (F == Unary::silu) return x * sigmoid(x);
}

template <Unary F>
Tensors ActivationFunction<F>::vjp(const Saved& s, const Tensor& gy, Need) const {
  return {apply(ActivationBackward<F>{}, s.input(0), gy)};
}

template <Unary F>
Meta ActivationBackward<F>::infer(const Meta& x, const Meta& gy) const {
  require<ShapeError>(x == gy, "{}: x {} against gy {}", name, x.shape, gy.shape);
  return x;
}

template <Unary F>
void ActivationBackward<F>::forward(const Tensor& x, const Tensor& gy, Tensor& gx) const {
  kernels::unary_backward(x, gy, gx, F);
}

template <Unary F>
Tensor ActivationBackward<F>::composite(const Tensor& x, const Tensor& gy) const {
  return composite_backward(ActivationFunction<F>{}, gy, Need{1}, x)[0];
}

Meta Sign::infer(const Meta& x) const { return floating(x, name); }
void Sign::forward(const Tensor& x, Tensor& y) const { kernels::unary(x, y, Unary::sign); }
Meta Step::infer(const Meta& x) const { return floating(x, name); }
void Step::forward(const Tensor& x, Tensor& y) const { kernels::unary(x, y, Unary::step); }

template struct Elementary<Unary::exp>;
template struct Elementary<Unary::log>;
template struct Elementary<Unary::sqrt>;
template struct Elementary<Unary::rsqrt>;
template struct Elementary<Unary::reciprocal>;
template struct Elementary<Unary::square>;
template struct Elementary<Unary::tanh>;
template struct Elementary<Unary::sigmoid>;
template struct Elementary<Unary::erf>;
template struct Elementary<Unary::sin>;
template struct Elementary<Unary::cos>;
template struct Elementary<Unary::relu>;
template struct Elementary<Unary::absolute>;
template struct ActivationFunction<Unary::gelu>;
template struct ActivationFunction<Unary::gelu_tanh>;
template struct ActivationFunction<Unary::silu>;
template struct ActivationBackward<Unary::gelu>;
template struct ActivationBackward<Unary::gelu_tanh>;
template struct ActivationBackward<Unary::silu>;

}  // namespace ops

Tensor exp(const Tensor& x) { return apply(ops::Exp{}, x); }
Tensor log(const Tensor& x) { return apply(ops::Log{}, x); }
Tensor sqrt(const Tensor& x) { return apply(ops::Sqrt{}, x); }
Tensor rsqrt(const Tensor& x) { return apply(ops::Rsqrt{}, x); }
Tensor reciprocal(const Tensor& x) { return apply(ops::Reciprocal{}, x); }
Tensor square(const Tensor& x) { return apply(ops::Square{}, x); }
Tensor tanh(const Tensor& x) { return apply(ops::Tanh{}, x); }
Tensor sigmoid(const Tensor& x) { return apply(ops::Sigmoid{}, x); }
Tensor erf(const Tensor& x) { return apply(ops::Erf{}, x); }
Tensor sin(const Tensor& x) { return apply(ops::Sin{}, x); }
Tensor cos(const Tensor& x) { return apply(ops::Cos{}, x); }
Tensor relu(const Tensor& x) { return apply(ops::Relu{}, x); }
Tensor absolute(const Tensor& x) { return apply(ops::Absolute{}, x); }
Tensor gelu(const Tensor& x) { return apply(ops::Gelu{}, x); }
Tensor gelu_tanh(const Tensor& x) { return apply(ops::GeluTanh{}, x); }
Tensor silu(const Tensor& x) { return apply(ops::Silu{}, x); }
Tensor sign(const Tensor& x) { return apply(ops::Sign{}, x); }
Tensor step(const Tensor& x) { return apply(ops::Step{}, x); }

}  // namespace mora
