// LAMB against its equations' trajectories (tests/goldens/write_optimizer_goldens.py), and what its groups change.
#include "optim/lamb.h"

#include <cmath>

#include "optim/trajectory.h"

namespace mora {
namespace {

TEST(Lamb, FollowsItsEquations) {
  for (const auto& golden : goldens::optimizers) {
    if (golden.kind != "lamb") continue;
    for (DType dtype : {DType::f64, DType::f32}) {
      Lamb lamb(test::golden_parameters(dtype), {.beta1 = golden.beta1,
                                                 .beta2 = golden.beta2,
                                                 .eps = golden.eps,
                                                 .norm_floor = golden.norm_floor,
                                                 .weight_decay = golden.weight_decay});
      test::expect_trajectory(lamb, golden, dtype);
    }
  }
}

// u is sign(g) at the first step: without decay a tensor of n elements moves by lr·‖w‖/√n an element.
TEST(Lamb, ATensorOfManyPiecesHasOneTrustRatio) {
  const int64_t n = 70'001;
  const Tensor w = test::formula_tensor("w", {n}, DType::f64), g = test::formula_tensor("g", {n}, DType::f64);
  double squares = 0;
  for (int64_t i = 0; i < n; ++i) squares += w.data<double>()[i] * w.data<double>()[i];
  Lamb lamb({{.name = "w", .value = test::formula_tensor("w", {n}, DType::f64)}}, {.eps = 0, .weight_decay = 0});
  lamb.step(std::vector<Tensor>{g}, 0.01);
  const double step = 0.01 * std::sqrt(squares / double(n));
  for (int64_t i = 0; i < n; ++i)
    ASSERT_NEAR(lamb.parameters()[0].value.data<double>()[i],
                w.data<double>()[i] - std::copysign(step, g.data<double>()[i]), 1e-12);
}

TEST(Lamb, BelowTheFloorAndOutsideTheGroupItIsAdam) {
  auto first_step = [](double w, bool is_weight, double floor) {
    Lamb lamb({{.name = "w", .value = Tensor::from(std::vector<double>{w, w}, {2}), .is_weight = is_weight}},
              {.eps = 0, .norm_floor = floor, .weight_decay = 0});
    lamb.step(std::vector<Tensor>{Tensor::from(std::vector<double>{3, -5}, {2})}, 0.01);
    return w - lamb.parameters()[0].value.data<double>()[0];
  };
  EXPECT_NEAR(first_step(4, true, 1), 0.04, 1e-15);
  EXPECT_NEAR(first_step(4, true, 6), 0.01, 1e-15);
  EXPECT_NEAR(first_step(4, false, 1), 0.01, 1e-15);
  EXPECT_NEAR(first_step(0, true, 0), 0.01, 1e-15);
}

TEST(Lamb, RefusesWhatMakesNoSense) {
  EXPECT_THROW(Lamb({}, {.beta1 = 1}), ConfigError);
  EXPECT_THROW(Lamb({}, {.eps = -1}), ConfigError);
  EXPECT_THROW(Lamb({}, {.norm_floor = -1}), ConfigError);
}

}  // namespace
}  // namespace mora
