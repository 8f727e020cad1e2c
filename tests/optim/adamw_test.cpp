// AdamW against torch's trajectories; state, rank events.
#include "optim/adamw.h"

#include <cmath>

#include "optim/trajectory.h"

namespace mora {
namespace {

TEST(AdamW, FollowsTorch) {
  for (const auto& golden : goldens::optimizers) {
    if (golden.kind != "adamw") continue;
    for (DType dtype : {DType::f64, DType::f32}) {
      AdamW adamw(test::golden_parameters(dtype), {.beta1 = golden.beta1,
                                                   .beta2 = golden.beta2,
                                                   .eps = golden.eps,
                                                   .weight_decay = golden.weight_decay,
                                                   .amsgrad = golden.amsgrad});
      test::expect_trajectory(adamw, golden, dtype);
    }
  }
}

// Many pieces over several threads, with a tail that fills no vector: each element as if it were alone.
TEST(AdamW, EveryElementOfALargeTensorIsUpdatedOnce) {
  const int64_t n = 70'001;
  AdamW adamw({{.name = "x", .value = test::formula_tensor("x", {n}, DType::f64)}}, {});
  const Tensor g = test::formula_tensor("g", {n}, DType::f64);
  adamw.step(std::vector<Tensor>{g}, 0.01);
  for (int64_t i = 0; i < n; ++i) {
    const double w = goldens::formula_value("x", uint64_t(i), 1) * (1 - 0.01 * 0.01);
    const double expected = w - 0.01 * g.data<double>()[i] / (std::abs(g.data<double>()[i]) + 1e-8);
    ASSERT_NEAR(adamw.parameters()[0].value.data<double>()[i], expected, 1e-12) << i;
  }
}

TEST(AdamW, ALoadedStateGoesOnBitForBit) {
  AdamW one(test::golden_parameters(DType::f32), {});
  for (int64_t t = 0; t < 5; ++t) one.step(test::golden_gradients(t, DType::f32), 0.01);
  std::vector<Parameter> copies;
  for (const Parameter& p : one.parameters())
    copies.push_back({.name = p.name, .value = Tensor::from(p.value.values<float>(), p.value.shape())});
  AdamW other(copies, {});
  other.load_state(one.state());
  for (int64_t t = 5; t < 10; ++t)
    for (AdamW* adamw : {&one, &other}) adamw->step(test::golden_gradients(t, DType::f32), 0.01);
  EXPECT_EQ(test::flat(one), test::flat(other));
}

TEST(AdamW, AStateThatDoesNotFitIsRefusedWhole) {
  AdamW adamw(test::golden_parameters(DType::f32), {});
  auto state = adamw.state();
  EXPECT_EQ(state.size(), 6u);
  EXPECT_EQ(state[0].name, "w.mean");
  const auto last = state.back();
  state.pop_back();
  EXPECT_THROW(adamw.load_state(state), ConfigError);
  state.push_back(last);
  state.push_back({"c.mean", last.tensor});
  EXPECT_THROW(adamw.load_state(state), ConfigError);
  state.pop_back();
  state[0].tensor = Tensor::zeros({5, 3}, DType::f32);
  EXPECT_THROW(adamw.load_state(state), ConfigError);
}

// Rows 0 and 2 of w are kept: they move as they would have, had row 1 never been there.
TEST(AdamW, MomentsFollowAResizedParameter) {
  const auto rows = [](const Tensor& t) {
    std::vector<double> kept(t.data<double>(), t.data<double>() + 5);
    kept.insert(kept.end(), t.data<double>() + 10, t.data<double>() + 15);
    return Tensor::from(kept, {2, 5});
  };
  AdamW whole(test::golden_parameters(DType::f64), {}), pruned(test::golden_parameters(DType::f64), {});
  for (int64_t t = 0; t < 3; ++t)
    for (AdamW* adamw : {&whole, &pruned}) adamw->step(test::golden_gradients(t, DType::f64), 0.01);
  pruned.resize(0, rows(pruned.parameters()[0].value), rows);
  auto gradients = test::golden_gradients(3, DType::f64);
  whole.step(gradients, 0.01);
  gradients[0] = rows(gradients[0]);
  pruned.step(gradients, 0.01);
  EXPECT_EQ(test::flat(std::vector<Tensor>{rows(whole.parameters()[0].value)}),
            test::flat(std::vector<Tensor>{pruned.parameters()[0].value}));
  EXPECT_THROW(pruned.resize(0, Tensor::zeros({1, 5}, DType::f64), [](const Tensor& t) { return t; }), ShapeError);
}

TEST(AdamW, ARestartedParameterForgets) {
  AdamW adamw(test::golden_parameters(DType::f64), {.weight_decay = 0});
  adamw.step(test::golden_gradients(0, DType::f64), 0.01);
  adamw.restart(1, Tensor::zeros({2}, DType::f64));
  auto gradients = test::golden_gradients(1, DType::f64);
  gradients[1] = Tensor::from(std::vector<double>{1, -2}, {2});
  adamw.step(gradients, 0.01);
  const double* b = adamw.parameters()[1].value.data<double>();
  EXPECT_NEAR(b[0], -0.01, 1e-9);  // the first update of Adam is lr·sign(g)
  EXPECT_NEAR(b[1], 0.01, 1e-9);
}

}  // namespace
}  // namespace mora
