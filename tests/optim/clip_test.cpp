// Clipping against torch's.
#include "optim/clip.h"

#include <cmath>

#include "engine/parallel.h"
#include "optim/mora_optimizer.h"
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

// What a device decides by itself, and the processor hears of later: two updates are under way, the first is not made.
TEST(MoRAOptimizer, AnUpdateWhoseLossIsNotFiniteIsNotMade) {
  for (const char* kind : {"sgd", "adamw", "lamb", "lars"}) {
    const auto parameters = [] {
      return std::vector<Parameter>{{.name = "w", .value = Tensor::from(std::vector<float>{3, -2}, {2})},
                                    {.name = "unused", .value = Tensor::from(std::vector<float>{1}, {1})}};
    };
    const auto gradients = [](float x) { return Tensors{Tensor::from(std::vector<float>{x, 2}, {2}), Tensor()}; };
    const auto loss = [](float value) { return Tensor::from(std::vector<float>{value}, {1}); };
    MoRAOptimizer one(parameters(), {.kind = kind, .clip = 1}), other(parameters(), {.kind = kind, .clip = 1});
    Tensors first = gradients(1), second = gradients(4), alone = gradients(4);
    const auto closed = one.begin(first, 0.1, loss(NAN));
    const auto closed_outcome = one.outcome(closed, first);
    EXPECT_FALSE(closed_outcome.applied);
    EXPECT_EQ(closed_outcome.not_finite, "the loss");
    EXPECT_EQ(first[0].data<float>()[0], 1);
    const auto outcome = one.outcome(one.begin(second, 0.1, loss(2)));
    EXPECT_TRUE(outcome.applied);
    const auto never = [](Tensors&) { return false; };
    EXPECT_EQ(other.step(alone, 0.1, never).gradient_norm, outcome.gradient_norm);
    const auto state = one.state(), expected = other.state();
    for (size_t i = 0; i < state.size(); ++i)
      EXPECT_EQ(std::memcmp(state[i].tensor.raw(), expected[i].tensor.raw(), state[i].tensor.bytes()), 0)
          << kind << " " << state[i].name;
    for (size_t i = 0; i < 2; ++i)
      EXPECT_EQ(one.parameters()[0].value.data<float>()[i], other.parameters()[0].value.data<float>()[i]) << kind;
  }
}

}  // namespace
}  // namespace mora
