#include "kernels/unary.h"

#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <numbers>

#include "engine/parallel.h"
#include "kernels/values.h"

namespace mora::test {
namespace {

using kernels::Unary;
using Function = std::function<double(double)>;

constexpr DType floating[] = {DType::f64, DType::f32, DType::bf16, DType::f16};
constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double nan = std::numeric_limits<double>::quiet_NaN();

double normal_cdf(double x) { return 0.5 * std::erfc(-x / std::numbers::sqrt2); }
double logistic(double x) { return 1 / (1 + std::exp(-x)); }
double tanh_argument(double x) { return std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x); }

struct Case {
  Unary f;
  Function reference;
  bool positive = false;  // defined for x > 0
};

const std::vector<Case>& cases() {
  static const std::vector<Case> all = {
      {Unary::negate, [](double x) { return -x; }},
      {Unary::absolute, [](double x) { return std::abs(x); }},
      {Unary::sign, [](double x) { return double(x > 0) - double(x < 0); }},
      {Unary::exp, [](double x) { return std::exp(x); }},
      {Unary::log, [](double x) { return std::log(x); }, true},
      {Unary::sqrt, [](double x) { return std::sqrt(x); }, true},
      {Unary::rsqrt, [](double x) { return 1 / std::sqrt(x); }, true},
      {Unary::reciprocal, [](double x) { return 1 / x; }, true},
      {Unary::square, [](double x) { return x * x; }},
      {Unary::tanh, [](double x) { return std::tanh(x); }},
      {Unary::sigmoid, logistic},
      {Unary::erf, [](double x) { return std::erf(x); }},
      {Unary::sin, [](double x) { return std::sin(x); }},
      {Unary::cos, [](double x) { return std::cos(x); }},
      {Unary::relu, [](double x) { return std::max(x, 0.); }},
      {Unary::step, [](double x) { return x > 0 ? 1. : 0.; }},
      {Unary::gelu, [](double x) { return x * normal_cdf(x); }},
      {Unary::gelu_tanh, [](double x) { return x * 0.5 * (1 + std::tanh(tanh_argument(x))); }},
      {Unary::silu, [](double x) { return x * logistic(x); }},
  };
  return all;
}

Values mapped(const Values& x, const Function& f) {
  Values y;
  for (double v : x) y.push_back(f(v));
  return y;
}

Tensor apply(const Tensor& x, Unary f) {
  Tensor y = Tensor::empty(x.meta());
  kernels::unary(x, y, f);
  return y;
}

double apply(double x, Unary f, DType dtype) { return values_of(apply(tensor_of({x}, {1}, dtype), f))[0]; }

TEST(Unary, AgreesWithTheLibraryForAllDtypesAndSizes) {
  for (const Case& c : cases()) {
    for (DType dtype : floating) {
      for (int64_t n : {0, 1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 1000, 40001}) {
        Values raw = normal_values(n, uint64_t(n) + 1, 2);
        if (c.positive)
          for (double& v : raw) v = std::abs(v) + 0.01;
        const Tensor x = tensor_of(raw, {n}, dtype);
        EXPECT_LE(difference(values_of(apply(x, c.f)), mapped(values_of(x), c.reference)), tolerance(dtype))
            << "function " << int(c.f) << ", " << name_of(dtype) << ", n = " << n;
      }
    }
  }
}

// Units in the last place of a T between the T `got` and the exact `wanted`.
template <class T>
double ulps(T got, long double wanted) {
  if (double(got) == double(wanted) || (std::isnan(got) && std::isnan(wanted))) return 0;
  if (!std::isfinite(got) || std::abs(wanted) > std::numeric_limits<T>::max())
    return got == T(wanted) ? 0 : std::numeric_limits<double>::infinity();
  int exponent = 0;
  std::frexp(wanted, &exponent);
  exponent = std::max(exponent, std::numeric_limits<T>::min_exponent) - std::numeric_limits<T>::digits;
  return double(std::abs(static_cast<long double>(got) - wanted) / std::ldexp(1.0L, exponent));
}

// The worst error over `count` numbers of [low, high], evenly spaced, or in their bits when `by_magnitude`.
template <class T>
double worst_ulps(Unary f, long double (*reference)(long double), double low, double high, bool by_magnitude,
                  int64_t count = 400000) {
  std::vector<T> x;
  for (int64_t i = 0; i < count; ++i) {
    const double t = (double(i) + 0.5) / double(count);
    x.push_back(T(by_magnitude ? low * std::pow(high / low, t) : low + (high - low) * t));
  }
  const Tensor y = apply(Tensor::from(x, {count}), f);
  double worst = 0;
  for (size_t i = 0; i < x.size(); ++i) worst = std::max(worst, ulps(y.values<T>()[i], reference(x[i])));
  return worst;
}

long double logistic_exact(long double x) { return 1 / (1 + std::exp(-x)); }

TEST(Unary, ErrorsOfF32StayWithinTheirUlps) {
  EXPECT_LE(worst_ulps<float>(Unary::exp, std::exp, -103, 88.7, false), 1.1);
  EXPECT_LE(worst_ulps<float>(Unary::exp, std::exp, -1, 1, false), 1.1);
  EXPECT_LE(worst_ulps<float>(Unary::log, std::log, 1e-44, 3e38, true), 1.1);
  EXPECT_LE(worst_ulps<float>(Unary::log, std::log, 0.5, 2, false), 1.1);
  EXPECT_LE(worst_ulps<float>(Unary::tanh, std::tanh, -10, 10, false), 3);
  EXPECT_LE(worst_ulps<float>(Unary::tanh, std::tanh, 1e-30, 1, true), 3);
  EXPECT_LE(worst_ulps<float>(Unary::sigmoid, logistic_exact, -10, 100, false), 4);
  EXPECT_LE(worst_ulps<float>(Unary::sigmoid, logistic_exact, -87, -10, false), 7);
  EXPECT_LE(worst_ulps<float>(Unary::erf, std::erf, -5, 5, false), 3);
  EXPECT_LE(worst_ulps<float>(Unary::erf, std::erf, 1e-30, 1, true), 3);
  EXPECT_LE(worst_ulps<float>(Unary::sin, std::sin, -1e5, 1e5, false), 1);
  EXPECT_LE(worst_ulps<float>(Unary::cos, std::cos, -10, 10, false), 1);
}

TEST(Unary, ErrorsOfF64StayWithinTheirUlps) {
  EXPECT_LE(worst_ulps<double>(Unary::exp, std::exp, -745, 709.7, false), 1.1);
  EXPECT_LE(worst_ulps<double>(Unary::log, std::log, 1e-320, 1e308, true), 1.1);
  EXPECT_LE(worst_ulps<double>(Unary::log, std::log, 0.5, 2, false), 1.1);
  EXPECT_LE(worst_ulps<double>(Unary::tanh, std::tanh, -20, 20, false), 3);
  EXPECT_LE(worst_ulps<double>(Unary::tanh, std::tanh, 1e-300, 1, true), 3);
  EXPECT_LE(worst_ulps<double>(Unary::sigmoid, logistic_exact, -700, 700, false), 3);
  EXPECT_LE(worst_ulps<double>(Unary::erf, std::erf, -6.5, 6.5, false), 4);
  EXPECT_LE(worst_ulps<double>(Unary::sin, std::sin, -10, 10, false), 2);
  EXPECT_LE(worst_ulps<double>(Unary::cos, std::cos, -10, 10, false), 2);
  // Near a multiple of π the reduced argument is what counts: absolute error.
  const double far = 999999.5;
  EXPECT_NEAR(apply(far, Unary::sin, DType::f64), std::sin(far), 1e-15);
  EXPECT_NEAR(apply(1e22, Unary::sin, DType::f64), std::sin(1e22), 1e-15);
}

TEST(Unary, SpecialValuesAreTheirLimits) {
  for (DType dtype : floating) {
    for (const Case& c : cases()) {
      if (c.f == Unary::step) continue;  // NaN > 0 is false
      EXPECT_TRUE(std::isnan(apply(nan, c.f, dtype))) << "function " << int(c.f) << " of NaN, " << name_of(dtype);
    }
    EXPECT_EQ(apply(infinity, Unary::exp, dtype), infinity);
    EXPECT_EQ(apply(-infinity, Unary::exp, dtype), 0);
    EXPECT_EQ(apply(0, Unary::log, dtype), -infinity);
    EXPECT_EQ(apply(infinity, Unary::log, dtype), infinity);
    EXPECT_TRUE(std::isnan(apply(-1, Unary::log, dtype)));
    EXPECT_EQ(apply(infinity, Unary::tanh, dtype), 1);
    EXPECT_EQ(apply(-infinity, Unary::tanh, dtype), -1);
    EXPECT_EQ(apply(-infinity, Unary::sigmoid, dtype), 0);
    EXPECT_EQ(apply(infinity, Unary::sigmoid, dtype), 1);
    EXPECT_EQ(apply(infinity, Unary::erf, dtype), 1);
    EXPECT_EQ(apply(-infinity, Unary::erf, dtype), -1);
    EXPECT_TRUE(std::isnan(apply(infinity, Unary::sin, dtype)));
    EXPECT_TRUE(std::signbit(apply(-0., Unary::tanh, dtype)));
    EXPECT_TRUE(std::signbit(apply(-0., Unary::erf, dtype)));
  }
  EXPECT_EQ(apply(89, Unary::exp, DType::f32), infinity);
  EXPECT_EQ(apply(-110, Unary::exp, DType::f32), 0);
  EXPECT_EQ(apply(710, Unary::exp, DType::f64), infinity);
}

TEST(Unary, GeluAndItsDerivativeOverTheWholeLine) {
  std::vector<float> x;
  for (int i = -300000; i <= 300000; ++i) x.push_back(float(i) * 1e-4f);
  for (float far : {1e-30f, 1e-6f, 100.f, 1e30f}) x.insert(x.end(), {far, -far});
  const int64_t n = int64_t(x.size());
  const Tensor at = Tensor::from(x, {n}), y = apply(at, Unary::gelu);
  Tensor slope = Tensor::empty({n});
  kernels::unary_backward(at, Tensor::from(std::vector<float>(x.size(), 1), {n}), slope, Unary::gelu);
  double worst = 0, worst_slope = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double v = double(x[i]), density = std::exp(-v * v / 2) / std::sqrt(2 * std::numbers::pi);
    const double distribution = 0.5 * std::erfc(-v / std::numbers::sqrt2);
    worst = std::max(worst, std::abs(double(y.data<float>()[i]) - v * distribution) / std::max(1., std::abs(v)));
    worst_slope = std::max(worst_slope, std::abs(double(slope.data<float>()[i]) - (distribution + v * density)));
  }
  EXPECT_LE(worst, 1.2e-7);
  EXPECT_LE(worst_slope, 3e-7);
  EXPECT_EQ(apply(infinity, Unary::gelu, DType::f32), infinity);
}

TEST(Unary, BackwardIsTheDerivative) {
  const double h = 1e-5;
  for (Unary f : {Unary::gelu, Unary::gelu_tanh, Unary::silu}) {
    const Function& reference = cases()[size_t(f)].reference;
    for (DType dtype : floating) {
      const Tensor x = tensor_of(normal_values(777, 3, 2), {777}, dtype);
      const Tensor gy = tensor_of(normal_values(777, 4), {777}, dtype);
      Tensor gx = Tensor::empty(x.meta());
      kernels::unary_backward(x, gy, gx, f);
      Values expected;
      const Values at = values_of(x), g = values_of(gy);
      for (size_t i = 0; i < at.size(); ++i)
        expected.push_back(g[i] * (reference(at[i] + h) - reference(at[i] - h)) / (2 * h));
      EXPECT_LE(difference(values_of(gx), expected), std::max(1e-9, tolerance(dtype))) << int(f) << name_of(dtype);
    }
  }
}

TEST(Unary, AffineClampAndPower) {
  for (DType dtype : floating) {
    const Tensor x = tensor_of(normal_values(1003, 5, 2), {17, 59}, dtype);
    const Values v = values_of(x);
    Tensor y = Tensor::empty(x.meta());
    kernels::affine(x, y, 1.5, -0.25);
    EXPECT_LE(difference(values_of(y), mapped(v, [](double a) { return 1.5 * a - 0.25; })), tolerance(dtype));
    kernels::clamp(x, y, -1, 0.5);
    EXPECT_EQ(difference(values_of(y), mapped(v, [](double a) { return std::clamp(a, -1., 0.5); })), 0);
    for (double e : {-2., -1., 0., 1., 2., 3., 65., 0.5, -0.5, 1.7, -3.3}) {
      kernels::power(x, y, e);
      // As the dtype holds it: 65504 is the largest f16. An error of log x counts |e| times.
      const Values exact = mapped(v, [e](double a) { return std::pow(a, e); });
      EXPECT_LE(difference(values_of(y), values_of(tensor_of(exact, x.shape(), dtype))), 4 * tolerance(dtype))
          << e << " " << name_of(dtype);
    }
  }
}

TEST(Unary, SwigluAndItsGradients) {
  for (DType dtype : floating) {
    const int64_t n = 1001;
    const Tensor gate = tensor_of(normal_values(n, 6, 2), {n}, dtype), up = tensor_of(normal_values(n, 7), {n}, dtype);
    const Tensor gy = tensor_of(normal_values(n, 8), {n}, dtype);
    Tensor y = Tensor::empty(gate.meta()), ggate = Tensor::empty(gate.meta()), gup = Tensor::empty(gate.meta());
    kernels::swiglu(gate, up, y);
    kernels::swiglu_backward(gate, up, gy, ggate, gup);
    const Values a = values_of(gate), u = values_of(up), g = values_of(gy);
    Values ey, eg, eu;
    for (size_t i = 0; i < a.size(); ++i) {
      const double s = logistic(a[i]);
      ey.push_back(a[i] * s * u[i]);
      eg.push_back(g[i] * u[i] * (s + a[i] * s * (1 - s)));
      eu.push_back(g[i] * a[i] * s);
    }
    EXPECT_LE(difference(values_of(y), ey), tolerance(dtype));
    EXPECT_LE(difference(values_of(ggate), eg), tolerance(dtype));
    EXPECT_LE(difference(values_of(gup), eu), tolerance(dtype));
  }
}

TEST(Unary, IsTheSameForAnyNumberOfThreads) {
  const Tensor x = tensor_of(normal_values(100003, 9), {100003}, DType::f32);
  const int before = threads();
  set_threads(1);
  const Values one = values_of(apply(x, Unary::gelu));
  set_threads(3);
  EXPECT_EQ(values_of(apply(x, Unary::gelu)), one);
  set_threads(before);
}

TEST(Unary, RefusesIntegers) {
  const Tensor x = Tensor::zeros({3}, DType::i32);
  EXPECT_THROW(apply(x, Unary::exp), DTypeError);
}

}  // namespace
}  // namespace mora::test
