// Clipping against torch's.
#include "optim/clip.h"

#include <cmath>

#include "engine/parallel.h"
#include "optim/trajectory.h"

namespace mora {
namespace {

TEST(Clip, AgreesWithTorch) {
  for (const auto& golden : goldens::clips) {
    auto gradients = test::golden_gradients(0, DType::f64, golden.scale);
    EXPECT_NEAR(clip_grad_norm(gradients, golden.max_norm), golden.norm, 1e-12);
    const auto got = test::flat(gradients);
    for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], golden.clipped[i], 1e-12);
  }
}

TEST(Clip, TheNormDoesNotDependOnTheThreads) {
  std::vector<Tensor> gradients = {test::formula_tensor("a", {100'003}, DType::f32), Tensor(),
                                   test::formula_tensor("b", {50, 41}, DType::f32)};
  const int before = threads();
  set_threads(1);
  const double one = clip_grad_norm(gradients, 1e9);
  set_threads(5);
  const double five = clip_grad_norm(gradients, 1e9);
  set_threads(before);
  EXPECT_EQ(one, five);
}

TEST(Clip, ANormThatIsNotFiniteIsReportedAndChangesNothing) {
  std::vector<Tensor> gradients = {Tensor::from(std::vector<float>{1, INFINITY}, {2})};
  EXPECT_EQ(clip_grad_norm(gradients, 1), INFINITY);
  EXPECT_EQ(gradients[0].data<float>()[0], 1);
}

TEST(Clip, NothingHasNorm0) {
  std::vector<Tensor> gradients = {Tensor(), Tensor::zeros({0}, DType::f32)};
  EXPECT_EQ(clip_grad_norm(gradients, 1), 0);
}

}  // namespace
}  // namespace mora
