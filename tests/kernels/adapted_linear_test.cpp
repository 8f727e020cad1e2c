// Linears of one x with their adapters, in one pass, against each alone in f64.
#include "kernels/adapted_linear.h"

#include <gtest/gtest.h>

#include "engine/parallel.h"
#include "kernels/bf16_products.h"
#include "kernels/values.h"

namespace mora::kernels {
namespace {

using test::Values;
using test::values_of;
using Adapter = AdaptedLinear::Adapter;

constexpr int64_t k = 60;

// A query, key and value: their adapters in turn, or those given.
struct Group {
  std::vector<std::unique_ptr<FrozenWeight>> weights;
  std::vector<AdaptedLinear> linears;

  Group(std::initializer_list<Adapter> adapters, OperatorKind kind, DType dtype) {
    uint64_t seed = 10;
    const auto random = [&](const Shape& shape) { return test::short_normal(shape, ++seed, dtype); };
    for (const Adapter adapter : adapters) {
      const int64_t d = 32 + 11 * int64_t(weights.size()), r = 8, side = 26;
      weights.push_back(std::make_unique<FrozenWeight>(random({d, k}), random({d})));
      AdaptedLinear l{.w = weights.back().get(), .adapter = adapter, .scale = 0.5, .op = {kind, k, d, side}};
      if (adapter == Adapter::lora) l.factors = {random({r, k}), random({d, r})};
      if (adapter == Adapter::mora) l.factors = {random({side, side}), Tensor()};
      linears.push_back(std::move(l));
    }
  }
};

// All outputs, then gx, then the gradients of the factors.
Tensors results(const Group& group, int64_t tokens, DType dtype, bool with_gx = true, bool with_factors = true) {
  const size_t count = group.linears.size();
  const Tensor x = test::short_normal({tokens, k}, 1, dtype);
  Tensor gx = with_gx ? Tensor::empty(x.meta()) : Tensor();
  Tensors ys, hs(count), gys;
  std::vector<std::array<Tensor, 2>> gradients(count);
  for (size_t i = 0; i < count; ++i) {
    const AdaptedLinear& l = group.linears[i];
    ys.push_back(Tensor::empty({tokens, l.w->out()}, dtype));
    gys.push_back(test::short_normal({tokens, l.w->out()}, 2 + i, dtype));
    if (l.adapter == Adapter::lora) hs[i] = Tensor::empty({tokens, l.factors[0].dim(0)}, dtype);
    for (size_t j = 0; j < 2 && with_factors; ++j)
      if (l.factors[j].defined()) gradients[i][j] = Tensor::empty(l.factors[j].meta());
  }
  adapted_linears(x, group.linears, ys, hs);
  adapted_linears_backward(x, group.linears, hs, gys, gx, gradients);
  Tensors all = ys;
  all.push_back(gx);
  for (const auto& [first, second] : gradients) all.insert(all.end(), {first, second});
  return all;
}

void expect_alike(const Tensors& got, const Tensors& expected, DType dtype, const std::string& what) {
  for (size_t i = 0; i < expected.size(); ++i) {
    ASSERT_EQ(got[i].defined(), expected[i].defined()) << what << " " << i;
    if (!got[i].defined()) continue;
    const Values values = values_of(expected[i]);
    EXPECT_LE(test::difference(values_of(got[i]), values), 4 * test::tolerance(dtype) * test::largest(values))
        << what << " result " << i << " " << name_of(dtype);
  }
}

void expect_those_of_f64(std::initializer_list<Adapter> adapters, OperatorKind kind) {
  for (const int64_t tokens : {0, 1, 31, 32, 211, 839}) {
    const Tensors expected = results(Group(adapters, kind, DType::f64), tokens, DType::f64);
    for (DType dtype : {DType::f32, DType::bf16, DType::f16})
      expect_alike(results(Group(adapters, kind, dtype), tokens, dtype), expected, dtype,
                   fmt::format("{} of {} tokens, operator {}", adapters.size(), tokens, int(kind)));
  }
}

TEST(AdaptedLinears, ResultsAreThoseOfEachAlone) {
  using enum Adapter;
  for (const auto kind : {OperatorKind::sharing, OperatorKind::rotation}) {
    expect_those_of_f64({lora, lora, lora}, kind);
    expect_those_of_f64({lora, none, mora}, kind);
    expect_those_of_f64({mora, mora}, kind);
    expect_those_of_f64({none, none}, kind);
  }
}

TEST(AdaptedLinears, Bf16BothWays) {
  test::for_both_bf16_products([](Bf16Products) {
    expect_those_of_f64({Adapter::lora, Adapter::none, Adapter::mora}, OperatorKind::rotation);
  });
}

TEST(AdaptedLinears, GradientsThatAreNotAskedForChangeNothing) {
  const Group group({Adapter::lora, Adapter::none, Adapter::mora}, OperatorKind::sharing, DType::f32);
  const Tensors all = results(group, 450, DType::f32);
  for (const bool with_gx : {false, true}) {
    const Tensors some = results(group, 450, DType::f32, with_gx, !with_gx);
    for (size_t i = 0; i < all.size(); ++i)
      if (some[i].defined()) {
        EXPECT_EQ(values_of(some[i]), values_of(all[i])) << i;
      }
  }
}

TEST(AdaptedLinears, ResultsDoNotDependOnTheThreads) {
  const int before = threads();
  for (DType dtype : {DType::f32, DType::bf16}) {
    const Group group({Adapter::lora, Adapter::none, Adapter::mora}, OperatorKind::rotation, dtype);
    set_threads(1);
    const Tensors alone = results(group, 700, dtype);
    set_threads(3);
    const Tensors together = results(group, 700, dtype);
    for (size_t i = 0; i < alone.size(); ++i)
      if (alone[i].defined()) {
        EXPECT_EQ(values_of(alone[i]), values_of(together[i])) << i << " " << name_of(dtype);
      }
  }
  set_threads(before);
}

TEST(AdaptedLinears, RefusesWhatDoesNotFit) {
  const Group group({Adapter::lora, Adapter::none}, OperatorKind::sharing, DType::f32);
  const Tensor x = Tensor::zeros({40, k});
  std::array ys{Tensor::zeros({40, 32}), Tensor::zeros({40, 42})}, hs{Tensor::zeros({40, 8}), Tensor()};
  EXPECT_THROW(adapted_linears(x, group.linears, ys, hs), ShapeError);
  hs[0] = Tensor::zeros({40, 7});
  ys[1] = Tensor::zeros({40, 43});
  EXPECT_THROW(adapted_linears(x, group.linears, ys, hs), ShapeError);
}

}  // namespace
}  // namespace mora::kernels
