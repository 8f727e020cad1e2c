// Both ways of running experts against each other and against a plain sum over experts.
#include "mora/experts/dispatch.h"

#include <gtest/gtest.h>

#include <functional>

#include "autograd/gradcheck.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/reduce.h"
#include "autograd/ops/shape.h"
#include "mora/experts/router.h"

namespace mora {
namespace {

Tensor normal(const Shape& shape, uint64_t layer, DType dtype = DType::f32) {
  const RandomStream stream({.seed = 5, .layer = layer});
  std::vector<double> values(size_t(shape.numel()));
  for (size_t i = 0; i < values.size(); ++i) values[i] = stream.normal(i) / 2;
  return cast(Tensor::from(values, shape), dtype);
}

LowRankExperts low_rank(int64_t count, int64_t rank, int64_t in, int64_t out, DType dtype = DType::f32) {
  return {leaf(normal({count * rank, in}, 1, dtype)), leaf(normal({count * rank, out}, 2, dtype)), count, 0.5};
}
SquareExperts square(int64_t count, int64_t side, DType dtype = DType::f32) {
  return {leaf(normal({count * side, side}, 1, dtype)), count};
}

void expect_close(const Tensor& a, const Tensor& b, const std::string& what) {
  ASSERT_EQ(a.shape(), b.shape()) << what;
  const Tensor left = contiguous(a), right = contiguous(b);
  for (size_t i = 0; i < size_t(a.numel()); ++i)
    ASSERT_NEAR(left.values<float>()[i], right.values<float>()[i], 1e-5 * (1 + std::abs(right.values<float>()[i])))
        << what << " " << i;
}

Routes routes_of(int64_t experts, int64_t rows) {
  const ExpertRouter router({.levels = {experts}}, 12,
                            [](const std::string&, const Shape& shape) { return normal(shape, 7); });
  Context context;
  return router.route(normal({rows, 12}, 3), context, 1);
}

// Values and gradients of both ways. A gate of an expert that is not chosen has no part in the grouped way: its
// gradient is compared where it is.
void expect_same(const Tensor& x, int64_t experts, Tensors parameters,
                 const std::function<Tensor(Dispatch, const Routes&)>& run) {
  const Routes routes = routes_of(experts, x.dim(0));
  const Tensor gates = leaf(routes.gates.detach());
  parameters.insert(parameters.begin(), {x, gates});
  const auto results = [&](Dispatch way) {
    const Tensor y = run(way, {gates * routes.chosen, routes.chosen});
    Tensors all = grad(sum(y * normal(y.shape(), 9)), parameters);
    all.insert(all.begin(), y);
    return all;
  };
  const Tensors stacked = results(Dispatch::stacked), grouped = results(Dispatch::grouped);
  for (size_t i = 0; i < stacked.size(); ++i) expect_close(grouped[i], stacked[i], fmt::format("result {}", i));
}

class DispatchTest : public testing::TestWithParam<int64_t> {};
INSTANTIATE_TEST_SUITE_P(Experts, DispatchTest, testing::Values(2, 3, 8, 17, 64));

TEST_P(DispatchTest, StackedAndGroupedLowRankAgree) {
  const LowRankExperts experts = low_rank(GetParam(), 4, 12, 10);
  const Tensor x = leaf(normal({33, 12}, 3));
  expect_same(x, GetParam(), {experts.a, experts.b},
              [&](Dispatch way, const Routes& routes) { return dispatch(way, x, routes, experts); });
}

TEST_P(DispatchTest, StackedAndGroupedSquareAgree) {
  const SquareExperts experts = square(GetParam(), 6);
  const Tensor s = leaf(normal({33, 2, 6}, 3));
  expect_same(s, GetParam(), {experts.m},
              [&](Dispatch way, const Routes& routes) { return dispatch(way, s, routes, experts); });
}

TEST(Dispatch, IsTheSumOverExperts) {
  const LowRankExperts experts = low_rank(3, 2, 4, 5);
  const Tensor x = normal({2, 4}, 3), gates = Tensor::from(std::vector<float>{0.25F, 0.75F, 0, 0, 0, 1}, {2, 3});
  const Tensor y = dispatch(Dispatch::grouped, x, {gates, gates}, experts);
  for (int64_t n = 0; n < 2; ++n) {
    for (int64_t o = 0; o < 5; ++o) {
      double expected = 0;
      for (int64_t row = 0; row < 6; ++row) {
        double h = 0;
        for (int64_t i = 0; i < 4; ++i)
          h += double(experts.a.values<float>()[size_t(row * 4 + i)]) * double(x.values<float>()[size_t(n * 4 + i)]);
        expected += 0.5 * double(gates.values<float>()[size_t(n * 3 + row / 2)]) * h *
                    double(experts.b.values<float>()[size_t(row * 5 + o)]);
      }
      EXPECT_NEAR(y.values<float>()[size_t(n * 5 + o)], expected, 1e-5);
    }
  }
}

TEST(Dispatch, DifferentiatesToSecondOrder) {
  const Tensor chosen = Tensor::from(std::vector<double>{1, 1, 0, 0, 1, 0}, {2, 3});  // none for the third
  const Tensor gates = normal({2, 3}, 4, DType::f64);
  const LowRankExperts pair = low_rank(3, 2, 4, 3, DType::f64);
  const SquareExperts one = square(3, 4, DType::f64);
  for (Dispatch way : {Dispatch::stacked, Dispatch::grouped}) {
    const auto of_pair = [&](std::span<const Tensor> in) -> Tensors {
      return {dispatch(way, in[0], {in[1] * chosen, chosen}, LowRankExperts{in[2], in[3], 3, 0.5})};
    };
    EXPECT_EQ(check_grads(of_pair, Tensors{normal({2, 4}, 3, DType::f64), gates, pair.a.detach(), pair.b.detach()}),
              "");
    const auto of_square = [&](std::span<const Tensor> in) -> Tensors {
      return {dispatch(way, in[0], {in[1] * chosen, chosen}, SquareExperts{in[2], 3})};
    };
    EXPECT_EQ(check_grads(of_square, Tensors{normal({2, 2, 4}, 3, DType::f64), gates, one.m.detach()}), "");
  }
}

}  // namespace
}  // namespace mora
