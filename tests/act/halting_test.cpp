// Halting against a plain f64 reference, token by token, from the equations on the top of halting.h.
#include "mora/act/halting.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "autograd/gradcheck.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/reduce.h"
#include "autograd/ops/shape.h"

namespace mora {
namespace {

using Loss = HaltingSpec::Loss;
using Row = std::vector<double>;
constexpr int64_t width = 3;

Row random_row(int64_t n, uint64_t layer) {
  const RandomStream stream({.seed = 4, .layer = layer});
  Row row;
  for (int64_t i = 0; i < n; ++i) row.push_back(stream.normal(uint64_t(i)));
  return row;
}
Tensor matrix(int64_t rows, int64_t columns, uint64_t layer) {
  return Tensor::from(random_row(rows * columns, layer), {rows, columns});
}

Halting halting_of(const HaltingSpec& spec, const Tensor& weight, double bias) {
  return Halting(spec, width, [&](const std::string& name, const Shape& shape) {
    return leaf(name == "act.weight" ? weight : Tensor::from(Row{bias}, shape));
  });
}

// z = s·Mᵀ
auto step_of(const Tensor& m) {
  return [m](const Tensor& s, const Tensor&) { return matmul(s, m, false, true); };
}

struct Token {
  Row output = Row(width, 0.0);
  Row weights;
  double cost = 0;
};

Token reference(const HaltingSpec& spec, Row s, const double* m, const double* w, double bias) {
  Token token;
  double spent = 0;
  const double cut = 1 - std::pow(0.8, double(spec.max_steps));
  for (int64_t n = 1;; ++n) {
    Row z(width, 0.0);
    double score = bias;
    for (int64_t i = 0; i < width; ++i) {
      score += w[i] * s[size_t(i)];
      for (int64_t j = 0; j < width; ++j) z[size_t(i)] += m[i * width + j] * s[size_t(j)];
    }
    double p = 1 / (1 + std::exp(-score));
    if (spec.loss == Loss::pondernet) p *= 1 - spent;
    const bool halts = n == spec.max_steps || spent + p >= 1 - spec.epsilon;
    const double weight = halts ? 1 - spent : p;
    token.weights.push_back(weight);
    for (size_t i = 0; i < size_t(width); ++i) token.output[i] += weight * z[i];
    if (spec.loss == Loss::pondernet)
      token.cost += weight * std::log(weight / (0.2 * std::pow(0.8, double(n - 1)) / cut));
    else
      token.cost += 1 + (halts ? weight : 0);
    if (halts) return token;
    spent += p;
    for (size_t i = 0; i < size_t(width); ++i) s[i] += std::tanh(z[i]);
  }
}

struct HaltingTest : ::testing::TestWithParam<std::tuple<Loss, int64_t, double>> {
  Loss loss() const { return std::get<0>(GetParam()); }
  HaltingSpec spec() const {
    return {.max_steps = std::get<1>(GetParam()), .epsilon = 0.05, .ponder = 0.5, .loss = loss()};
  }
  double bias() const { return std::get<2>(GetParam()); }
};

TEST_P(HaltingTest, IsTheReferenceAndWeightsSumToOne) {
  const Tensor m = matrix(width, width, 1), w = matrix(1, width, 2);
  const Halting halting = halting_of(spec(), w, bias());
  for (int64_t tokens : {1, 40}) {
    const Tensor start = matrix(tokens, width, 3);
    RoutedLayers routed;
    Context context;
    context.training = true;
    context.routed = &routed;
    const Tensor y = halting.run(start, step_of(m), context, 7);
    double cost = 0, steps = 0;
    for (int64_t n = 0; n < tokens; ++n) {
      const double* s = start.data<double>() + n * width;
      const Token expected = reference(spec(), Row(s, s + width), m.data<double>(), w.data<double>(), bias());
      double total = 0;
      for (double weight : expected.weights) total += weight;
      EXPECT_NEAR(total, 1, 1e-12);
      for (int64_t i = 0; i < width; ++i)
        EXPECT_NEAR(y.data<double>()[n * width + i], expected.output[size_t(i)], 1e-12) << n << " " << i;
      cost += expected.cost;
      steps += double(expected.weights.size());
    }
    EXPECT_EQ(routed.at(7).steps, steps);
    ASSERT_EQ(context.losses.size(), 1U);
    EXPECT_NEAR(context.losses[0].item(), 0.5 * cost / double(tokens), 1e-10);
  }
}

// What a step makes is 1 everywhere, so the layer gives Σ pⁿ of each token.
TEST_P(HaltingTest, WeightsSumToOneInF32) {
  const Halting halting = halting_of(spec(), cast(matrix(1, width, 2), DType::f32), bias());
  Context context;
  const Tensor start = cast(matrix(200, width, 3), DType::f32);
  const Tensor y = halting.run(
      start, [](const Tensor& s, const Tensor&) { return s * 0 + 1; }, context, 1);
  for (float v : y.values<float>()) EXPECT_NEAR(v, 1, 1e-6);
}

// N is a constant: these tokens are farther than the differences from where it changes.
TEST_P(HaltingTest, DifferentiatesToSecondOrder) {
  auto f = [&](std::span<const Tensor> in) -> Tensors {
    const Halting halting(spec(), width,
                          [&](const std::string& name, const Shape&) { return name == "act.weight" ? in[1] : in[2]; });
    Context context;
    context.training = true;
    const Tensor y = halting.run(in[0], step_of(in[3]), context, 1);
    return {y, context.losses[0]};
  };
  const Tensors inputs{matrix(6, width, 5), matrix(1, width, 2), Tensor::from(Row{bias()}, {1}),
                       matrix(width, width, 1)};
  EXPECT_EQ(check_grads(f, inputs), "");
}

std::string name_of_case(const ::testing::TestParamInfo<HaltingTest::ParamType>& tested) {
  const auto& [loss, steps, bias] = tested.param;
  return fmt::format("{}_{}_{}", name_of(loss), steps, bias < 0 ? "late" : bias > 2 ? "early" : "mixed");
}
INSTANTIATE_TEST_SUITE_P(Halting, HaltingTest,
                         ::testing::Combine(::testing::Values(Loss::graves, Loss::pondernet),
                                            ::testing::Values(1, 2, 5), ::testing::Values(-4.0, 1.0, 4.0)),
                         name_of_case);

TEST(Halting, HaltedTokensAreNotComputed) {
  const Halting halting = halting_of({.max_steps = 6}, matrix(1, width, 2) * 3, 0);
  std::vector<int64_t> rows;
  const Tensor m = matrix(width, width, 1);
  Context context;
  RoutedLayers routed;
  context.routed = &routed;
  halting.run(
      matrix(64, width, 3),
      [&](const Tensor& s, const Tensor& ids) {
        rows.push_back(s.dim(0));
        if (ids.defined()) {
          EXPECT_EQ(ids.dim(0), s.dim(0));
        }
        return matmul(s, m, false, true);
      },
      context, 1);
  EXPECT_EQ(rows.front(), 64);
  EXPECT_TRUE(std::is_sorted(rows.rbegin(), rows.rend()));
  EXPECT_LT(rows.back(), 32);
  EXPECT_EQ(routed.at(1).steps, double(std::accumulate(rows.begin(), rows.end(), int64_t{0})));
}

TEST(Halting, WithoutTokensThereIsNothing) {
  const Halting halting = halting_of({}, matrix(1, width, 2), 1);
  Context context;
  context.training = true;
  EXPECT_EQ(halting.run(Tensor::zeros({0, width}, DType::f64), step_of(matrix(width, width, 1)), context, 1).shape(),
            (Shape{0, width}));
  EXPECT_TRUE(context.losses.empty());
}

TEST(Halting, WrongSpecsAreErrors) {
  EXPECT_THROW(halting_of({.max_steps = 0}, matrix(1, width, 2), 1), ConfigError);
  EXPECT_THROW(halting_of({.epsilon = 1}, matrix(1, width, 2), 1), ConfigError);
  EXPECT_THROW(parse_ponder_loss("grave"), ConfigError);
}

}  // namespace
}  // namespace mora
