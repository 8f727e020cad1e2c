// GELU and its derivative, for every lane type:
//   gelu(x) = x·Φ(x)     gelu'(x) = Φ(x) + x·φ(x)
// with φ and Φ the standard normal density and distribution. Where 32 f32 are looked up in registers (AVX-512), f32
// does without the exponential: both functions are a step less what is smooth in |x| and vanishes beyond 6,
//   gelu(x) = x·[x > 0] − t(|x|),   gelu'(x) = t'(|x|) for x < 0, else 1 − t'(|x|),   t(a) = a·Φ(−a),
// and t and t' are polynomials of degree 4 on each of 32 equal intervals: 1e-8 and 4e-8 off. Included after
// kernels/cpu/foreach_target.h, once for each instruction set.
#ifndef MORA_KERNELS_CPU_GELU_ONCE
#define MORA_KERNELS_CPU_GELU_ONCE

#include <cmath>
#include <numbers>

namespace mora::kernels::cpu {

// Coefficient k of interval i is coefficient[k][i]: of ((a − middle of i) / width)^k.
struct GeluTable {
  static constexpr int intervals = 32, terms = 5;
  static constexpr double end = 6;
  alignas(64) float coefficient[terms][intervals];

  // Interpolates f at the Chebyshev nodes of each interval.
  explicit GeluTable(double (*f)(double a)) {
    for (int i = 0; i < intervals; ++i) {
      double node[terms], c[terms];  // Newton's divided differences
      for (int k = 0; k < terms; ++k) {
        node[k] = 0.5 * std::cos(std::numbers::pi * (k + 0.5) / terms);
        c[k] = f((i + 0.5 + node[k]) * end / intervals);
      }
      for (int order = 1; order < terms; ++order)
        for (int k = terms - 1; k >= order; --k) c[k] = (c[k] - c[k - 1]) / (node[k] - node[k - order]);
      double p[terms] = {};  // powers
      for (int k = terms - 1; k >= 0; --k) {
        for (int power = terms - 1; power > 0; --power) p[power] = p[power - 1] - node[k] * p[power];
        p[0] = c[k] - node[k] * p[0];
      }
      for (int k = 0; k < terms; ++k) coefficient[k][i] = float(p[k]);
    }
  }
};

inline double normal_tail(double a) { return 0.5 * std::erfc(a / std::numbers::sqrt2); }

inline const GeluTable& gelu_table() {
  static const GeluTable table([](double a) { return a * normal_tail(a); });
  return table;
}

inline const GeluTable& gelu_derivative_table() {
  static const GeluTable table([](double a) {
    return normal_tail(a) - a * std::exp(-a * a / 2) * std::numbers::inv_sqrtpi / std::numbers::sqrt2;
  });
  return table;
}

}  // namespace mora::kernels::cpu
#endif

#if defined(MORA_KERNELS_CPU_GELU_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MORA_KERNELS_CPU_GELU_H_
#undef MORA_KERNELS_CPU_GELU_H_
#else
#define MORA_KERNELS_CPU_GELU_H_
#endif

#include "kernels/cpu/simd_math.h"

HWY_BEFORE_NAMESPACE();
namespace mora::kernels::cpu::HWY_NAMESPACE {

template <class D>
class Gelu {
 public:
  using V = hn::Vec<D>;
  explicit Gelu(D d) : d_(d) {}
  HWY_INLINE V operator()(V x) const { return hn::Mul(x, normal(d_, x).distribution); }

 private:
  D d_;
};

template <class D>
class GeluDerivative {
 public:
  using V = hn::Vec<D>;
  explicit GeluDerivative(D d) : d_(d) {}
  HWY_INLINE V operator()(V x) const {
    const auto [density, distribution] = normal(d_, x);
    return hn::MulAdd(x, density, distribution);
  }

 private:
  D d_;
};

#if HWY_TARGET == HWY_AVX3
using F32 = hn::ScalableTag<float>;

// A table in registers.
class GeluLookup {
 public:
  using V = hn::Vec<F32>;
  HWY_INLINE explicit GeluLookup(const GeluTable& table) {
    for (int k = 0; k < GeluTable::terms; ++k) {
      low_[k] = hn::Load(F32(), table.coefficient[k]);
      high_[k] = hn::Load(F32(), table.coefficient[k] + 16);
    }
  }
  // NaN stays NaN.
  HWY_INLINE V operator()(V a) const {
    const F32 d;
    constexpr float scale = GeluTable::intervals / GeluTable::end;
    const V at = hn::Min(hn::Set(d, GeluTable::intervals - 0.51f), hn::MulSub(a, hn::Set(d, scale), hn::Set(d, 0.5f)));
    const V magic = hn::Set(d, 0x1.8p23f);  // rounds to an integer, and leaves it in the low bits
    const V shifted = hn::Add(at, magic);
    const V t = hn::Sub(at, hn::Sub(shifted, magic));
    V y = term(GeluTable::terms - 1, shifted);
    for (int k = GeluTable::terms - 2; k >= 0; --k) y = hn::MulAdd(y, t, term(k, shifted));
    return y;
  }

 private:
  HWY_INLINE V term(int k, V index) const {
    return V{_mm512_permutex2var_ps(low_[k].raw, _mm512_castps_si512(index.raw), high_[k].raw)};
  }
  V low_[GeluTable::terms], high_[GeluTable::terms];
};

template <>
class Gelu<F32> {
 public:
  using V = hn::Vec<F32>;
  HWY_INLINE explicit Gelu(F32) : lookup_(gelu_table()) {}
  HWY_INLINE V operator()(V x) const {
    const F32 d;
    const V step = hn::IfThenElseZero(hn::Gt(x, hn::Zero(d)), hn::Set(d, 1));
    return hn::MulSub(x, step, lookup_(hn::Abs(x)));  // −∞·0 is NaN, as −∞·Φ(−∞) is
  }

 private:
  GeluLookup lookup_;
};

template <>
class GeluDerivative<F32> {
 public:
  using V = hn::Vec<F32>;
  HWY_INLINE explicit GeluDerivative(F32) : lookup_(gelu_derivative_table()) {}
  HWY_INLINE V operator()(V x) const {
    const V below = lookup_(hn::Abs(x));
    return hn::IfThenElse(hn::Lt(x, hn::Zero(F32())), below, hn::Sub(hn::Set(F32(), 1), below));
  }

 private:
  GeluLookup lookup_;
};
#endif

}  // namespace mora::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
