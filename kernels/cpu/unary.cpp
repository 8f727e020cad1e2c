// Element-wise functions of one tensor, and of the pairs that need no broadcasting (swiglu, axpy's sibling affine).
//
// Derivatives, with φ and Φ the standard normal density and distribution and σ the logistic function:
//   gelu'(x)      = Φ(x) + x·φ(x)
//   gelu_tanh(x)  = x·σ(2u),  u = √(2/π)(x + 0.044715 x³),   since ½(1 + tanh u) = σ(2u)
//   gelu_tanh'(x) = s + x·s(1 − s)·2u',  s = σ(2u)
//   silu'(x)      = s + x·s(1 − s),      s = σ(x)
#include "kernels/unary.h"

#include "kernels/checks.h"
#include "kernels/cpu/elements.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/unary.cpp"
#include "kernels/cpu/foreach_target.h"
#include "kernels/cpu/gelu.h"
#include "kernels/cpu/simd.h"
#include "kernels/cpu/simd_math.h"

HWY_BEFORE_NAMESPACE();
namespace mora::kernels::cpu::HWY_NAMESPACE {
namespace {

// 2u of gelu_tanh, and its derivative by x.
template <class D, class V>
V gelu_tanh_argument(D d, V x) {
  constexpr double c = 2 * 0.79788456080286536;  // 2√(2/π)
  return hn::Mul(x, polynomial(d, hn::Mul(x, x), c, c * 0.044715));
}
template <class D, class V>
V gelu_tanh_argument_slope(D d, V x) {
  constexpr double c = 2 * 0.79788456080286536;
  return polynomial(d, hn::Mul(x, x), c, c * 3 * 0.044715);
}

template <class D, class V>
V sign(D d, V x) {
  const V zero = hn::Zero(d);
  const auto nonzero = hn::Or(hn::Lt(x, zero), hn::Gt(x, zero));  // false for NaN
  return hn::IfThenElse(nonzero, hn::CopySign(hn::Set(d, 1), x), x);
}

// Flattened, so that each function is part of its loop and its constants stay in registers.
template <class T>
HWY_FLATTEN void unary_typed(const T* x, T* y, int64_t n, Unary f) {
  const Tag<T> d;
  using V = hn::Vec<Tag<T>>;
  const V zero = hn::Zero(d);
  const V one = hn::Set(d, 1);
  const auto run = [&](auto g) HWY_ATTR { map(d, n, g, y, x); };
  switch (f) {
    case Unary::negate: return run([&](V v) HWY_ATTR { return hn::Neg(v); });
    case Unary::absolute: return run([&](V v) HWY_ATTR { return hn::Abs(v); });
    case Unary::sign: return run([&](V v) HWY_ATTR { return sign(d, v); });
    case Unary::exp: return run([&](V v) HWY_ATTR { return exp(d, v); });
    case Unary::log: return run([&](V v) HWY_ATTR { return log(d, v); });
    case Unary::sqrt: return run([&](V v) HWY_ATTR { return hn::Sqrt(v); });
    case Unary::rsqrt: return run([&](V v) HWY_ATTR { return hn::Div(one, hn::Sqrt(v)); });
    case Unary::reciprocal: return run([&](V v) HWY_ATTR { return hn::Div(one, v); });
    case Unary::square: return run([&](V v) HWY_ATTR { return hn::Mul(v, v); });
    case Unary::tanh: return run([&](V v) HWY_ATTR { return tanh(d, v); });
    case Unary::sigmoid: return run([&](V v) HWY_ATTR { return sigmoid(d, v); });
    case Unary::erf: return run([&](V v) HWY_ATTR { return erf(d, v); });
    case Unary::sin: return run([&](V v) HWY_ATTR { return sine(d, v, 0); });
    case Unary::cos: return run([&](V v) HWY_ATTR { return sine(d, v, 1); });
    case Unary::relu: return run([&](V v) HWY_ATTR { return hn::IfThenElse(hn::Lt(v, zero), zero, v); });
    case Unary::step: return run([&](V v) HWY_ATTR { return hn::IfThenElseZero(hn::Gt(v, zero), one); });
    case Unary::gelu: return run(Gelu(d));
    case Unary::gelu_tanh: return run([&](V v) HWY_ATTR { return hn::Mul(v, sigmoid(d, gelu_tanh_argument(d, v))); });
    case Unary::silu: return run([&](V v) HWY_ATTR { return silu(d, v); });
  }
}

// s + x·s(1 − s)·slope
template <class V>
V gated_derivative(V x, V s, V slope) {
  const V rest = hn::Mul(hn::NegMulAdd(s, s, s), slope);
  return hn::MulAdd(x, rest, s);
}

template <class T>
HWY_FLATTEN void unary_backward_typed(const T* x, const T* gy, T* gx, int64_t n, Unary f) {
  const Tag<T> d;
  using V = hn::Vec<Tag<T>>;
  const auto run = [&](auto derivative) HWY_ATTR {
    map(
        d, n, [&](V v, V g) HWY_ATTR { return hn::Mul(g, derivative(v)); }, gx, x, gy);
  };
  switch (f) {
    case Unary::gelu: return run(GeluDerivative(d));
    case Unary::gelu_tanh:
      return run([&](V v) HWY_ATTR {
        return gated_derivative(v, sigmoid(d, gelu_tanh_argument(d, v)), gelu_tanh_argument_slope(d, v));
      });
    case Unary::silu: return run([&](V v) HWY_ATTR { return gated_derivative(v, sigmoid(d, v), hn::Set(d, 1)); });
    default: invariant(false, "unary_backward: function {} has no backward kernel", int(f));
  }
}

template <class T>
HWY_FLATTEN void swiglu_backward_typed(const T* gate, const T* up, const T* gy, T* ggate, T* gup, int64_t n) {
  const Tag<T> d;
  for_each_vector(d, n, [&](int64_t i, auto... count) HWY_ATTR {
    const auto x = load(d, gate + i, count...);
    const auto g = load(d, gy + i, count...);
    const auto u = load(d, up + i, count...);
    const auto s = sigmoid(d, x);
    store(hn::Mul(hn::Mul(g, u), gated_derivative(x, s, hn::Set(d, 1))), d, ggate + i, count...);
    store(hn::Mul(g, hn::Mul(x, s)), d, gup + i, count...);
  });
}

// x^exponent for an integer exponent of at most 64 in magnitude, by repeated squaring.
template <class D, class V>
V integer_power(D d, V x, int exponent) {
  V y = hn::Set(d, 1);
  for (int e = std::abs(exponent); e > 0; e /= 2, x = hn::Mul(x, x)) {
    if (e % 2) y = hn::Mul(y, x);
  }
  return exponent < 0 ? hn::Div(hn::Set(d, 1), y) : y;
}

// x^exponent = e^{exponent · log x} in f64 lanes; a negative x gives NaN unless the exponent is an integer.
template <class D, class V>
V general_power(D d, V x, double exponent) {
  const V y = exp(d, hn::Mul(hn::Set(d, exponent), log(d, hn::Abs(x))));
  const bool integer = std::trunc(exponent) == exponent;
  const bool odd = integer && std::fmod(exponent, 2) != 0;
  const auto negative = hn::Lt(x, hn::Zero(d));
  if (!integer) return hn::IfThenElse(negative, hn::NaN(d), y);
  return odd ? hn::CopySign(y, x) : y;
}

template <class T>
void power_typed(const T* x, T* y, int64_t n, double exponent) {
  const Tag<T> d;
  const Tag<double> d64;
  using V = hn::Vec<Tag<T>>;
  if (exponent == 0.5) {
    map(
        d, n, [&](V v) HWY_ATTR { return hn::Sqrt(v); }, y, x);
  } else if (std::abs(exponent) <= 64 && std::trunc(exponent) == exponent) {
    map(
        d, n, [&](V v) HWY_ATTR { return integer_power(d, v, int(exponent)); }, y, x);
  } else {
    map(
        d64, n, [&](auto v) HWY_ATTR { return general_power(d64, v, exponent); }, y, x);
  }
}

void unary_range(const Tensor& x, void* y, int64_t begin, int64_t end, Unary f) {
  visit_floating(x.dtype(), "unary", [&](auto t) HWY_ATTR {
    using T = decltype(t);
    unary_typed(x.data<T>() + begin, static_cast<T*>(y) + begin, end - begin, f);
  });
}

void unary_backward_range(const Tensor& x, const Tensor& gy, void* gx, int64_t begin, int64_t end, Unary f) {
  visit_floating(x.dtype(), "unary_backward", [&](auto t) HWY_ATTR {
    using T = decltype(t);
    unary_backward_typed(x.data<T>() + begin, gy.data<T>() + begin, static_cast<T*>(gx) + begin, end - begin, f);
  });
}

void affine_range(const Tensor& x, void* y, int64_t begin, int64_t end, double scale, double shift) {
  visit_floating(x.dtype(), "affine", [&](auto t) HWY_ATTR {
    using T = decltype(t);
    const Tag<T> d;
    const auto a = hn::Set(d, Compute<T>(scale));
    const auto b = hn::Set(d, Compute<T>(shift));
    map(
        d, end - begin, [&](auto v) HWY_ATTR { return hn::MulAdd(a, v, b); }, static_cast<T*>(y) + begin,
        x.data<T>() + begin);
  });
}

void power_range(const Tensor& x, void* y, int64_t begin, int64_t end, double exponent) {
  visit_floating(x.dtype(), "power", [&](auto t) HWY_ATTR {
    using T = decltype(t);
    power_typed(x.data<T>() + begin, static_cast<T*>(y) + begin, end - begin, exponent);
  });
}

void clamp_range(const Tensor& x, void* y, int64_t begin, int64_t end, double low, double high) {
  visit_floating(x.dtype(), "clamp", [&](auto t) HWY_ATTR {
    using T = decltype(t);
    const Tag<T> d;
    map(
        d, end - begin, [&](auto v) HWY_ATTR { return clamp_keeping_nan(d, v, low, high); }, static_cast<T*>(y) + begin,
        x.data<T>() + begin);
  });
}

template <class T>
HWY_FLATTEN void swiglu_typed(const T* gate, const T* up, T* y, int64_t n) {
  const Tag<T> d;
  map(
      d, n, [&](auto x, auto u) HWY_ATTR { return hn::Mul(silu(d, x), u); }, y, gate, up);
}

void swiglu_range(const Tensor& gate, const Tensor& up, void* y, int64_t begin, int64_t end) {
  visit_floating(gate.dtype(), "swiglu", [&](auto t) HWY_ATTR {
    using T = decltype(t);
    swiglu_typed(gate.data<T>() + begin, up.data<T>() + begin, static_cast<T*>(y) + begin, end - begin);
  });
}

void swiglu_backward_range(const Tensor& gate, const Tensor& up, const Tensor& gy, void* ggate, void* gup,
                           int64_t begin, int64_t end) {
  visit_floating(gate.dtype(), "swiglu_backward", [&](auto t) HWY_ATTR {
    using T = decltype(t);
    swiglu_backward_typed(gate.data<T>() + begin, up.data<T>() + begin, gy.data<T>() + begin,
                          static_cast<T*>(ggate) + begin, static_cast<T*>(gup) + begin, end - begin);
  });
}

}  // namespace
}  // namespace mora::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::kernels::cpu {
namespace {

HWY_EXPORT(unary_range);
HWY_EXPORT(unary_backward_range);
HWY_EXPORT(affine_range);
HWY_EXPORT(power_range);
HWY_EXPORT(clamp_range);
HWY_EXPORT(swiglu_range);
HWY_EXPORT(swiglu_backward_range);

}  // namespace

void unary(const Tensor& x, Tensor& y, Unary f) {
  check_alike("unary", x, {&y});
  void* out = y.mutable_raw();
  parallel_for(x.numel(), element_grain, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(unary_range)(x, out, begin, end, f);
  });
}

void unary_backward(const Tensor& x, const Tensor& gy, Tensor& gx, Unary f) {
  check_alike("unary_backward", x, {&gy, &gx});
  void* out = gx.mutable_raw();
  parallel_for(x.numel(), element_grain, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(unary_backward_range)(x, gy, out, begin, end, f);
  });
}

void affine(const Tensor& x, Tensor& y, double scale, double shift) {
  check_alike("affine", x, {&y});
  void* out = y.mutable_raw();
  parallel_for(x.numel(), element_grain, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(affine_range)(x, out, begin, end, scale, shift);
  });
}

void power(const Tensor& x, Tensor& y, double exponent) {
  check_alike("power", x, {&y});
  void* out = y.mutable_raw();
  parallel_for(x.numel(), element_grain, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(power_range)(x, out, begin, end, exponent);
  });
}

void clamp(const Tensor& x, Tensor& y, double low, double high) {
  check_alike("clamp", x, {&y});
  void* out = y.mutable_raw();
  parallel_for(x.numel(), element_grain, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(clamp_range)(x, out, begin, end, low, high);
  });
}

void swiglu(const Tensor& gate, const Tensor& up, Tensor& y) {
  check_alike("swiglu", gate, {&up, &y});
  void* out = y.mutable_raw();
  parallel_for(gate.numel(), element_grain, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(swiglu_range)(gate, up, out, begin, end);
  });
}

void swiglu_backward(const Tensor& gate, const Tensor& up, const Tensor& gy, Tensor& ggate, Tensor& gup) {
  check_alike("swiglu_backward", gate, {&up, &gy, &ggate, &gup});
  void* out_gate = ggate.mutable_raw();
  void* out_up = gup.mutable_raw();
  parallel_for(gate.numel(), element_grain, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(swiglu_backward_range)(gate, up, gy, out_gate, out_up, begin, end);
  });
}

}  // namespace mora::kernels::cpu
#endif
