#include "kernels/binary.h"

#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "engine/parallel.h"
#include "kernels/values.h"

namespace mora::test {
namespace {

using kernels::Binary;
using kernels::Compare;
using Function = std::function<double(double, double)>;

constexpr DType floating[] = {DType::f64, DType::f32, DType::bf16, DType::f16};

const std::vector<std::pair<Binary, Function>>& cases() {
  static const std::vector<std::pair<Binary, Function>> all = {
      {Binary::add, [](double a, double b) { return a + b; }},
      {Binary::sub, [](double a, double b) { return a - b; }},
      {Binary::mul, [](double a, double b) { return a * b; }},
      {Binary::div, [](double a, double b) { return a / b; }},
      {Binary::maximum, [](double a, double b) { return std::max(a, b); }},
      {Binary::minimum, [](double a, double b) { return std::min(a, b); }},
  };
  return all;
}

// `t` seen over `shape` as numpy broadcasts it.
Tensor broadcast_to(const Tensor& t, const Shape& shape) {
  Strides strides;
  for (int i = 0; i < shape.rank(); ++i) {
    const int at = i - (shape.rank() - t.rank());
    strides.push_back(at < 0 || t.dim(at) == 1 ? 0 : t.strides()[at]);
  }
  return t.alias(shape, strides, t.offset());
}

Tensor transposed(const Tensor& t) { return t.alias({t.dim(1), t.dim(0)}, {t.strides()[1], t.strides()[0]}, 0); }

Tensor random(const Shape& shape, DType dtype, uint64_t seed) {
  Values v = normal_values(shape.numel(), seed);
  for (double& a : v) a += a < 0 ? -0.25 : 0.25;  // no quotient is huge
  return tensor_of(v, shape, dtype);
}

void check(const Tensor& a, const Tensor& b) {
  for (const auto& [f, reference] : cases()) {
    Tensor y = Tensor::empty(a.shape(), a.dtype());
    kernels::binary(a, b, y, f);
    const Values u = values_of(a), v = values_of(b);
    Values expected;
    for (size_t i = 0; i < u.size(); ++i) expected.push_back(reference(u[i], v[i]));
    ASSERT_LE(difference(values_of(y), expected), tolerance(a.dtype()))
        << int(f) << " " << name_of(a.dtype()) << " " << a.shape().to_string() << a.strides().to_string()
        << b.strides().to_string();
  }
}

TEST(Binary, DenseOfAllSizes) {
  for (DType dtype : floating) {
    for (int64_t n : {0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 33, 255, 256, 257, 1000, 50001})
      check(random({n}, dtype, 1), random({n}, dtype, 2));
  }
}

TEST(Binary, BroadcastsAnyDimension) {
  const Shape full{3, 5, 7, 19};
  for (DType dtype : floating) {
    for (const Shape& part : {Shape{}, Shape{1}, Shape{19}, Shape{7, 1}, Shape{7, 19}, Shape{5, 1, 1},
                              Shape{3, 1, 7, 1}, Shape{1, 5, 1, 19}, Shape{3, 1, 1, 1}}) {
      const Tensor a = random(full, dtype, 3);
      const Tensor b = broadcast_to(random(part, dtype, 4), full);
      check(a, b);
      check(b, a);
      check(b, b);
    }
    check(random({40, 1000}, dtype, 5), broadcast_to(random({40, 1}, dtype, 6), {40, 1000}));
    check(random({40, 1000}, dtype, 5), broadcast_to(random({1000}, dtype, 6), {40, 1000}));
  }
}

TEST(Binary, TakesAnyStrides) {
  for (DType dtype : floating) {
    const Tensor a = random({37, 300}, dtype, 7), b = random({300, 37}, dtype, 8);
    check(a, transposed(b));
    check(transposed(a), b);
    const Tensor every_other = a.alias({37, 150}, {300, 2}, 1);
    check(every_other, every_other);
    const Tensor backwards = a.alias({37, 300}, {300, -1}, 299);
    check(a, backwards);
  }
}

TEST(Binary, MaximumAndMinimumOfNaNAreNaN) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (DType dtype : floating) {
    const Tensor a = tensor_of({nan, 1, nan}, {3}, dtype), b = tensor_of({1, nan, nan}, {3}, dtype);
    for (Binary f : {Binary::maximum, Binary::minimum}) {
      Tensor y = Tensor::empty(a.meta());
      kernels::binary(a, b, y, f);
      for (double v : values_of(y)) EXPECT_TRUE(std::isnan(v)) << name_of(dtype);
    }
  }
}

TEST(Binary, IntegersWrapAndDoNotDivide) {
  const std::vector<int32_t> a = {1, -7, INT32_MAX}, b = {2, 5, 1};
  const Tensor x = Tensor::from(a, {3}), z = Tensor::from(b, {3});
  Tensor y = Tensor::empty({3}, DType::i32);
  kernels::binary(x, z, y, Binary::add);
  EXPECT_EQ(std::vector<int32_t>(y.values<int32_t>().begin(), y.values<int32_t>().end()),
            (std::vector<int32_t>{3, -2, INT32_MIN}));
  kernels::binary(x, z, y, Binary::maximum);
  EXPECT_EQ(y.values<int32_t>()[1], 5);
  EXPECT_THROW(kernels::binary(x, z, y, Binary::div), DTypeError);
}

TEST(Binary, ComparesAndSelects) {
  for (DType dtype : floating) {
    const Tensor a = random({6, 50}, dtype, 9);
    Tensor b = transposed(random({50, 6}, dtype, 10));
    const Values u = values_of(a), v = values_of(b);
    Tensor mask = Tensor::empty({6, 50}, DType::boolean);
    kernels::compare(a, b, mask, Compare::less);
    Tensor y = Tensor::empty({6, 50}, dtype);
    kernels::where(mask, a, b, y);
    const Values chosen = values_of(y);
    for (size_t i = 0; i < u.size(); ++i) {
      EXPECT_EQ(mask.values<bool>()[i], u[i] < v[i]);
      EXPECT_EQ(chosen[i], std::min(u[i], v[i]));
    }
    kernels::compare(a, a, mask, Compare::equal);
    for (bool m : mask.values<bool>()) EXPECT_TRUE(m);
    kernels::compare(a, a, mask, Compare::greater);
    for (bool m : mask.values<bool>()) EXPECT_FALSE(m);
  }
}

TEST(Binary, AxpyMixesDtypes) {
  for (DType from : floating) {
    for (DType to : floating) {
      const Tensor x = random({777}, from, 11);
      Tensor y = random({777}, to, 12);
      const Values u = values_of(x);
      Values expected = values_of(y);
      for (size_t i = 0; i < u.size(); ++i) expected[i] += -1.75 * u[i];
      kernels::axpy(x, y, -1.75);
      EXPECT_LE(difference(values_of(y), expected), tolerance(to)) << name_of(from) << name_of(to);
    }
  }
}

TEST(Binary, IsTheSameForAnyNumberOfThreads) {
  const Tensor a = random({300, 301}, DType::f32, 13);
  const Tensor b = broadcast_to(random({301}, DType::f32, 14), {300, 301});
  const int before = threads();
  Tensor one = Tensor::empty(a.meta()), three = Tensor::empty(a.meta());
  set_threads(1);
  kernels::binary(a, b, one, Binary::div);
  set_threads(3);
  kernels::binary(a, b, three, Binary::div);
  set_threads(before);
  EXPECT_EQ(values_of(one), values_of(three));
}

}  // namespace
}  // namespace mora::test
