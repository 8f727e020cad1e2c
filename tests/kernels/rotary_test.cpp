#include <gtest/gtest.h>

#include "kernels/attention.h"
#include "kernels/values.h"

namespace mora::test {
namespace {

constexpr int64_t tokens = 5, positions = 40;

struct Problem {
  int64_t heads, dim;
  Tensor x, position, cosine, sine;

  Problem(int64_t h, int64_t d, DType dtype) : heads(h), dim(d) {
    const DType table = dtype == DType::f64 ? DType::f64 : DType::f32;
    Values c, s;
    for (int64_t p = 0; p < positions; ++p)
      for (int64_t j = 0; j < d / 2; ++j) {
        const double angle = double(p) * std::pow(10000, -2 * double(j) / double(d));
        c.push_back(std::cos(angle));
        s.push_back(std::sin(angle));
      }
    // The middle third of a fused projection: rows of three times the length.
    const Tensor fused = tensor_of(normal_values(tokens * 3 * h * d, 1), {tokens, 3 * h * d}, dtype);
    x = fused.alias({tokens, h, d}, {3 * h * d, d, 1}, h * d);
    position = Tensor::from(std::vector<int32_t>{0, 39, 7, 7, 1}, {tokens});
    cosine = tensor_of(c, {positions, d / 2}, table);
    sine = tensor_of(s, {positions, d / 2}, table);
  }
};

class RotaryOfDType : public testing::TestWithParam<DType> {};
INSTANTIATE_TEST_SUITE_P(All, RotaryOfDType, testing::Values(DType::f64, DType::f32, DType::bf16, DType::f16),
                         [](const auto& tested) { return std::string(name_of(tested.param)); });

TEST_P(RotaryOfDType, TurnsPairsAndBack) {
  for (int64_t heads : {1, 3})
    for (int64_t dim : {2, 6, 16, 34, 64, 128}) {
      SCOPED_TRACE(fmt::format("{} heads of {}", heads, dim));
      const Problem problem(heads, dim, GetParam());
      Tensor y = Tensor::empty(problem.x.shape(), GetParam()), back = Tensor::empty(problem.x.shape(), GetParam());
      kernels::rotary(problem.x, problem.position, problem.cosine, problem.sine, y, false);
      kernels::rotary(y, problem.position, problem.cosine, problem.sine, back, true);

      const Values x = values_of(problem.x), c = values_of(problem.cosine), s = values_of(problem.sine);
      Values expected(x.size());
      const int64_t half = dim / 2;
      for (int64_t row = 0; row < tokens * heads; ++row)
        for (int64_t j = 0; j < half; ++j) {
          const auto at = size_t(row * dim + j), pair = at + size_t(half);
          const auto angle = size_t(problem.position.data<int32_t>()[row / heads] * half + j);
          expected[at] = x[at] * c[angle] - x[pair] * s[angle];
          expected[pair] = x[pair] * c[angle] + x[at] * s[angle];
        }
      EXPECT_LT(difference(values_of(y), expected), tolerance(GetParam()));
      EXPECT_LT(difference(values_of(back), x), 2 * tolerance(GetParam()));
    }
}

TEST(Rotary, APositionOutsideTheTableIsNamed) {
  const Problem problem(1, 4, DType::f32);
  Tensor y = Tensor::empty(problem.x.shape());
  for (int32_t bad : {-1, int32_t(positions)}) {
    const Tensor position = Tensor::from(std::vector<int32_t>{0, 1, bad, 3, 4}, {tokens});
    EXPECT_THROW(kernels::rotary(problem.x, position, problem.cosine, problem.sine, y, false), ShapeError);
  }
}

}  // namespace
}  // namespace mora::test
