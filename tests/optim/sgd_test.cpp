// SGD against torch's trajectories.
#include "optim/sgd.h"

#include "optim/trajectory.h"

namespace mora {
namespace {

TEST(Sgd, FollowsTorch) {
  for (const auto& golden : goldens::optimizers) {
    if (golden.kind != "sgd") continue;
    for (DType dtype : {DType::f64, DType::f32}) {
      Sgd sgd(test::golden_parameters(dtype), {.momentum = golden.momentum,
                                               .dampening = golden.dampening,
                                               .nesterov = golden.nesterov,
                                               .weight_decay = golden.weight_decay});
      test::expect_trajectory(sgd, golden, dtype);
    }
  }
}

TEST(Sgd, AParameterMayHaveItsOwnRateAndDecay) {
  Sgd sgd({{.name = "a", .value = Tensor::from(std::vector<double>{1}, {1}), .lr_scale = 3},
           {.name = "b", .value = Tensor::from(std::vector<double>{1}, {1}), .weight_decay = 0.0}},
          {.weight_decay = 0.5});
  const std::vector<Tensor> zero(2, Tensor::zeros({1}, DType::f64));
  sgd.step(zero, 0.1);
  EXPECT_DOUBLE_EQ(sgd.parameters()[0].value.item(), 1 - 0.3 * 0.5);
  EXPECT_DOUBLE_EQ(sgd.parameters()[1].value.item(), 1);
}

TEST(Sgd, WithoutAGradientNothingMoves) {
  Sgd sgd(test::golden_parameters(DType::f64), {.momentum = 0.9, .weight_decay = 0.1});
  const auto before = test::flat(sgd);
  sgd.step(std::vector<Tensor>(2), 0.1);
  EXPECT_EQ(test::flat(sgd), before);
  for (const NamedTensor& s : sgd.state()) EXPECT_EQ(test::flat(std::vector<Tensor>{s.tensor})[0], 0) << s.name;
}

TEST(Sgd, RefusesWhatMakesNoSense) {
  EXPECT_THROW(Sgd({}, {.momentum = 1}), ConfigError);
  EXPECT_THROW(Sgd({}, {.nesterov = true}), ConfigError);
  const Tensor t = Tensor::zeros({2}, DType::f32);
  EXPECT_THROW(Sgd({{.name = "x", .value = t}, {.name = "x", .value = t}}, {}), ConfigError);
  Sgd sgd({{.name = "x", .value = t}}, {});
  EXPECT_THROW(sgd.step(std::vector<Tensor>{Tensor::zeros({3}, DType::f32)}, 1), ShapeError);
  EXPECT_THROW(sgd.step({}, 1), ShapeError);
  EXPECT_THROW(Sgd({{.name = "x", .value = Tensor::zeros({2}, DType::bf16)}}, {}), DTypeError);
}

}  // namespace
}  // namespace mora
