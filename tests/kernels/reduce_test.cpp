#include "kernels/reduce.h"

#include <gtest/gtest.h>

#include <limits>

#include "engine/parallel.h"
#include "kernels/values.h"

namespace mora::test {
namespace {

using kernels::Reduce;

constexpr DType floating[] = {DType::f64, DType::f32, DType::bf16, DType::f16};

Shape reduced_shape(Shape shape, uint32_t dims) {
  for (int i = 0; i < shape.rank(); ++i) {
    if (dims >> i & 1u) shape[i] = 1;
  }
  return shape;
}

Values reference(const Values& x, const Shape& shape, uint32_t dims, Reduce f) {
  const Shape out = reduced_shape(shape, dims);
  const Strides from = contiguous_strides(shape), to = contiguous_strides(out);
  Values y(size_t(out.numel()), f == Reduce::sum ? 0 : -HUGE_VAL);
  for (size_t n = 0; n < x.size(); ++n) {
    int64_t at = 0;
    for (int i = 0; i < shape.rank(); ++i) {
      if (out[i] != 1) at += int64_t(n) / from[i] % shape[i] * to[i];
    }
    double& sum = y[size_t(at)];
    sum = f == Reduce::sum ? sum + x[n] : std::max(sum, x[n]);
  }
  return y;
}

Tensor reduce(const Tensor& x, uint32_t dims, Reduce f) {
  Tensor y = Tensor::empty(reduced_shape(x.shape(), dims), x.dtype());
  kernels::reduce(x, y, dims, f);
  return y;
}

void check(const Shape& shape, DType dtype) {
  const Tensor x = tensor_of(normal_values(shape.numel(), 1), shape, dtype);
  for (uint32_t dims = 0; dims < 1u << shape.rank(); ++dims) {
    for (Reduce f : {Reduce::sum, Reduce::maximum}) {
      ASSERT_LE(difference(values_of(reduce(x, dims, f)), reference(values_of(x), shape, dims, f)),
                2 * tolerance(dtype))
          << shape.to_string() << " dims " << dims << " " << name_of(dtype);
    }
  }
}

TEST(Reduce, AnyDimensionsOfSmallTensors) {
  for (DType dtype : floating) {
    for (int64_t n : {1, 2, 7, 8, 9, 15, 16, 17, 31, 64, 65, 100}) check({n}, dtype);
    check({3, 17}, dtype);
    check({2, 3, 5, 4, 3}, dtype);
    check({4, 1, 33}, dtype);
    check({300, 3}, dtype);
  }
}

TEST(Reduce, LargeTensorsAreCutIntoChunks) {
  check({50000}, DType::f32);
  check({3, 40000}, DType::f32);
  check({2000, 70}, DType::f32);
  check({2, 600, 5000}, DType::bf16);
  check({70, 20, 30}, DType::f64);
}

TEST(Reduce, SumsOfF32StayCloseWhereNaiveOnesDoNot) {
  const int64_t n = 1 << 24;
  const Tensor x = tensor_of(Values(size_t(n), 0.1), {n}, DType::f32);
  EXPECT_NEAR(values_of(reduce(x, 1, Reduce::sum))[0] / (double(n) * double(0.1f)), 1,
              2e-5);  // four lanes: 1.02e-5; one by one: 0.15
}

TEST(Reduce, MaximumOfNaNIsNaNWhereverItStands) {
  for (DType dtype : floating) {
    for (size_t at : {0u, 1u, 15u, 63u, 64u, 99u}) {
      Values v = normal_values(100, 2);
      v[at] = std::numeric_limits<double>::quiet_NaN();
      EXPECT_TRUE(std::isnan(values_of(reduce(tensor_of(v, {100}, dtype), 1, Reduce::maximum))[0])) << at;
      EXPECT_TRUE(std::isnan(values_of(reduce(tensor_of(v, {100, 1}, dtype), 1, Reduce::maximum))[0])) << at;
    }
  }
}

TEST(Reduce, NothingSumsToZeroAndHasNoMaximum) {
  const Tensor x = Tensor::zeros({3, 0});
  EXPECT_EQ(values_of(reduce(x, 2, Reduce::sum)), (Values{0, 0, 0}));
  EXPECT_THROW(reduce(x, 2, Reduce::maximum), ShapeError);
  EXPECT_EQ(reduce(x, 1, Reduce::maximum).numel(), 0);
}

TEST(Reduce, IsTheSameForAnyNumberOfThreads) {
  const Tensor x = tensor_of(normal_values(1200000, 3), {1200, 1000}, DType::f32);
  const int before = threads();
  for (uint32_t dims : {1u, 2u, 3u}) {
    set_threads(1);
    const Values one = values_of(reduce(x, dims, Reduce::sum));
    set_threads(3);
    EXPECT_EQ(values_of(reduce(x, dims, Reduce::sum)), one);
  }
  set_threads(before);
}

TEST(Argmax, FindsTheFirstOfEqualsAndTheFirstNaN) {
  for (DType dtype : floating) {
    for (int64_t d : {1, 2, 7, 16, 17, 100, 1025}) {
      Values v(size_t(3 * d), -1);
      v[size_t(d / 2)] = 3;
      v[size_t(d - 1)] = 3;
      v[size_t(2 * d - 1)] = 5;
      v[size_t(2 * d + d / 3)] = std::numeric_limits<double>::quiet_NaN();
      v[size_t(3 * d - 1)] = d == 1 ? v[size_t(3 * d - 1)] : 9;
      const Tensor x = tensor_of(v, {3, d}, dtype);
      Tensor y = Tensor::empty({3}, DType::i32);
      kernels::argmax(x, y);
      EXPECT_EQ(y.values<int32_t>()[0], d / 2);
      EXPECT_EQ(y.values<int32_t>()[1], d - 1);
      EXPECT_EQ(y.values<int32_t>()[2], d / 3 == d - 1 && d > 1 ? d - 1 : d / 3) << d;
    }
  }
}

TEST(SumOfSquares, IsF64) {
  for (DType dtype : floating) {
    for (int64_t n : {0, 1, 3, 8, 17, 1000, 50001}) {
      const Tensor x = tensor_of(normal_values(n, 4), {n}, dtype);
      double expected = 0;
      for (double v : values_of(x)) expected += v * v;
      Tensor out = Tensor::empty({1}, DType::f64);
      kernels::sum_of_squares(x, out);
      EXPECT_NEAR(out.item(), expected, 1e-12 * (1 + expected)) << n << name_of(dtype);
    }
  }
  Tensor out = Tensor::empty({1}, DType::f64);
  kernels::sum_of_squares(tensor_of({1e30, 1e-30}, {2}, DType::f32), out);
  EXPECT_NEAR(out.item(), 1e60, 1e53);
}

TEST(Segment, MeansAndTheirBackward) {
  const std::vector<int32_t> offsets = {0, 3, 3, 40, 41};
  const Tensor at = Tensor::from(offsets, {5});
  for (DType dtype : floating) {
    for (int64_t d : {1, 5, 16, 33, 384}) {
      const Tensor x = tensor_of(normal_values(41 * d, 5), {41, d}, dtype);
      const Tensor gy = tensor_of(normal_values(4 * d, 6), {4, d}, dtype);
      Tensor y = Tensor::empty({4, d}, dtype), gx = Tensor::empty({41, d}, dtype);
      kernels::segment_mean(x, at, y);
      kernels::segment_mean_backward(gy, at, gx);
      const Values v = values_of(x), g = values_of(gy);
      Values ey(size_t(4 * d), 0), egx(v.size());
      for (size_t b = 0; b < 4; ++b) {
        const double length = offsets[b + 1] - offsets[b];
        for (auto n = size_t(offsets[b]); n < size_t(offsets[b + 1]); ++n) {
          for (size_t c = 0; c < size_t(d); ++c) {
            ey[b * size_t(d) + c] += v[n * size_t(d) + c] / length;
            egx[n * size_t(d) + c] = g[b * size_t(d) + c] / length;
          }
        }
      }
      EXPECT_LE(difference(values_of(y), ey), tolerance(dtype)) << name_of(dtype) << d;
      EXPECT_LE(difference(values_of(gx), egx), tolerance(dtype)) << name_of(dtype) << d;
    }
  }
}

}  // namespace
}  // namespace mora::test
