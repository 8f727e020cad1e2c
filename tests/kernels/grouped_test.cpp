// Products of rows in groups against plain sums, for sizes in and beyond whole tiles, blocks and vectors.
#include "kernels/grouped.h"

#include <gtest/gtest.h>

#include "engine/random.h"
#include "kernels/copy.h"
#include "tolerance.h"

namespace mora::kernels {
namespace {

Tensor normal(const Shape& shape, uint64_t layer, DType dtype) {
  const RandomStream stream({.seed = 3, .layer = layer});
  Tensor numbers = Tensor::empty(shape, DType::f64), t = Tensor::empty(shape, dtype);
  for (int64_t i = 0; i < numbers.numel(); ++i) numbers.mutable_data<double>()[i] = stream.normal(uint64_t(i));
  copy(numbers, t);
  return t;
}
Tensor wide(const Tensor& t) {
  Tensor values = Tensor::empty(t.shape(), DType::f64);
  copy(t, values);
  return values;
}

struct Case {
  DType dtype;
  int64_t n, r, d;
};

struct Grouped : ::testing::TestWithParam<Case> {
  Case c = GetParam();
  RowGroups groups;
  Tensor x = normal({c.n, c.d}, 1, c.dtype), w = normal({3, c.r, c.d}, 2, c.dtype), h;

  void SetUp() override {  // two thirds of the rows in the first group, backwards; none in the second; all in the third
    std::vector<int32_t> rows;
    for (int64_t i = c.n; i-- > c.n / 3;) rows.push_back(int32_t(i));
    const int64_t first = std::ssize(rows);
    for (int64_t i = 0; i < c.n; ++i) rows.push_back(int32_t(i));
    groups = {Tensor::from(rows, {std::ssize(rows)}), {0, first, first, std::ssize(rows)}};
    h = normal({std::ssize(rows), c.r}, 3, c.dtype);
  }
  // f(s, j, place in h, in x, in W) for each term of the form that the three are derivatives of.
  template <class F>
  void for_each_term(F f) const {
    for (int64_t e = 0; e < 3; ++e)
      for (int64_t s = groups.offsets[size_t(e)]; s < groups.offsets[size_t(e) + 1]; ++s)
        for (int64_t j = 0; j < c.r; ++j)
          for (int64_t i = 0; i < c.d; ++i)
            f(s * c.r + j, groups.rows.data<int32_t>()[s] * c.d + i, (e * c.r + j) * c.d + i);
  }
  void expect_near(const Tensor& actual, const std::vector<double>& expected) const {
    const Tensor values = wide(actual);
    for (size_t i = 0; i < expected.size(); ++i)
      ASSERT_NEAR(values.data<double>()[i], expected[i], 20 * test::tolerance(c.dtype) * (1 + std::abs(expected[i])))
          << i;
  }
};

TEST_P(Grouped, EachIsItsSum) {
  const Tensor hw = wide(h), xw = wide(x), ww = wide(w);
  const double *ph = hw.data<double>(), *px = xw.data<double>(), *pw = ww.data<double>();
  std::vector<double> gathered(size_t(h.numel())), scattered(size_t(x.numel())), outer(size_t(w.numel()));
  for_each_term([&](int64_t in_h, int64_t in_x, int64_t in_w) {
    gathered[size_t(in_h)] += px[in_x] * pw[in_w];
    scattered[size_t(in_x)] += ph[in_h] * pw[in_w];
    outer[size_t(in_w)] += ph[in_h] * px[in_x];
  });
  Tensor a = Tensor::empty(h.shape(), c.dtype), b = Tensor::empty(x.shape(), c.dtype),
         m = Tensor::empty(w.shape(), c.dtype);
  gather_products(x, w, a, groups);
  scatter_products(h, w, b, groups);
  outer_products(h, x, m, groups);
  expect_near(a, gathered);
  expect_near(b, scattered);
  expect_near(m, outer);
}

std::string name_of_case(const ::testing::TestParamInfo<Case>& tested) {
  const Case& c = tested.param;
  return fmt::format("{}_{}_{}_{}", name_of(c.dtype), c.n, c.r, c.d);
}
INSTANTIATE_TEST_SUITE_P(Sizes, Grouped,
                         ::testing::Values(Case{DType::f32, 1, 1, 1}, Case{DType::f32, 37, 9, 131},
                                           Case{DType::f32, 64, 32, 128}, Case{DType::f64, 13, 5, 70},
                                           Case{DType::bf16, 21, 8, 67}, Case{DType::f16, 9, 3, 65}),
                         name_of_case);

}  // namespace
}  // namespace mora::kernels
