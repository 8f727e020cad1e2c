// LARS against its equations' trajectories (tests/goldens/write_optimizer_goldens.py), and what its groups change.
#include "optim/lars.h"

#include <cmath>

#include "optim/trajectory.h"

namespace mora {
namespace {

TEST(Lars, FollowsItsEquations) {
  for (const auto& golden : goldens::optimizers) {
    if (golden.kind != "lars") continue;
    for (DType dtype : {DType::f64, DType::f32}) {
      Lars lars(test::golden_parameters(dtype), {.trust = golden.trust,
                                                 .momentum = golden.momentum,
                                                 .eps = golden.eps,
                                                 .norm_floor = golden.norm_floor,
                                                 .weight_decay = golden.weight_decay,
                                                 .larc = golden.larc});
      test::expect_trajectory(lars, golden, dtype);
    }
  }
}

Tensor vector_of(const std::vector<double>& values) { return Tensor::from(values, {int64_t(values.size())}); }

// The first step of a w of norm 5 along a g of norm 1.
double first_step(double w_scale, const LarsOptions& options, double lr, bool is_weight = true) {
  Lars lars({{.name = "w", .value = vector_of({3 * w_scale, 4 * w_scale}), .is_weight = is_weight}}, options);
  lars.step(std::vector<Tensor>{vector_of({1, 0})}, lr);
  return 3 * w_scale - lars.parameters()[0].value.data<double>()[0];
}

TEST(Lars, AWeightMovesByAShareOfItsNorm) {
  EXPECT_NEAR(first_step(1, {.trust = 0.01, .eps = 0}, 2), 2 * 0.01 * 5, 1e-15);
}

TEST(Lars, BelowTheFloorAndOutsideTheGroupItIsSgd) {
  EXPECT_NEAR(first_step(0, {.trust = 0.01}, 2), 2, 1e-15);
  EXPECT_NEAR(first_step(1, {.trust = 0.01, .norm_floor = 5}, 2), 2, 1e-15);
  EXPECT_NEAR(first_step(1, {.trust = 0.01}, 2, false), 2, 1e-15);
}

TEST(Lars, LarcClipsTheRateToSgds) {
  EXPECT_NEAR(first_step(1, {.trust = 0.01, .eps = 0, .larc = true}, 2), 0.05, 1e-15);     // the local rate
  EXPECT_NEAR(first_step(1, {.trust = 0.01, .eps = 0, .larc = true}, 0.02), 0.02, 1e-15);  // lr is smaller
  EXPECT_EQ(first_step(1, {.trust = 0.01, .larc = true}, 0), 0);
}

// The bound of a step is the same for a tensor of many pieces as for a small one.
TEST(Lars, ALargeTensorHasOneNorm) {
  const int64_t n = 70'001;
  const Tensor w = test::formula_tensor("w", {n}, DType::f32), g = test::formula_tensor("g", {n}, DType::f32);
  double w2 = 0, g2 = 0;
  for (int64_t i = 0; i < n; ++i) {
    w2 += std::pow(double(w.data<float>()[i]), 2);
    g2 += std::pow(double(g.data<float>()[i]), 2);
  }
  Lars lars({{.name = "w", .value = test::formula_tensor("w", {n}, DType::f32)}}, {.trust = 0.1});
  lars.step(std::vector<Tensor>{g}, 1);
  for (int64_t i = 0; i < n; i += 997)
    ASSERT_NEAR(lars.parameters()[0].value.data<float>()[i],
                double(w.data<float>()[i]) - 0.1 * std::sqrt(w2 / g2) * double(g.data<float>()[i]), 1e-6);
}

TEST(Lars, RefusesWhatMakesNoSense) {
  EXPECT_THROW(Lars({}, {.trust = 0}), ConfigError);
  EXPECT_THROW(Lars({}, {.momentum = 1}), ConfigError);
  EXPECT_THROW(Lars({}, {.norm_floor = -1}), ConfigError);
}

}  // namespace
}  // namespace mora
