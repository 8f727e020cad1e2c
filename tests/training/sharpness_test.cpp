// The sharpness tools against a matrix of known eigenvalues, and against finite differences on MiniLM.
#include "mora/training/sharpness.h"

#include <gtest/gtest.h>

#include <cmath>

#include "mora/models/registry.h"
#include "mora/training/evaluate.h"

namespace mora {
namespace {

const std::filesystem::path source = MORA_SOURCE_DIR;

// H = diag(values) turned by a reflection I − 2uuᵀ, over two tensors of 4 and 6 elements.
TEST(Sharpness, LanczosFindsBothEnds) {
  const std::vector<double> values = {-3, -1, 0, 0.5, 1, 2, 4, 7, 11, 12};
  std::vector<double> u(10);
  for (size_t i = 0; i < 10; ++i) u[i] = double(i + 1) / std::sqrt(385.0);
  int64_t products = 0;
  auto reflected = [&](std::vector<double> x) {
    double along = 0;
    for (size_t i = 0; i < 10; ++i) along += u[i] * x[i];
    for (size_t i = 0; i < 10; ++i) x[i] -= 2 * along * u[i];
    return x;
  };
  auto product = [&](std::span<const Tensor> v) -> Tensors {
    ++products;
    std::vector<double> x;
    for (const Tensor& t : v)
      for (float e : t.values<float>()) x.push_back(e);
    x = reflected(x);
    for (size_t i = 0; i < 10; ++i) x[i] *= values[i];
    x = reflected(x);
    return {Tensor::from(std::vector<float>(x.begin(), x.begin() + 4), {2, 2}),
            Tensor::from(std::vector<float>(x.begin() + 4, x.end()), {6})};
  };
  const Tensor like[] = {Tensor::zeros({2, 2}), Tensor::zeros({6})};
  const Extremes all = extreme_eigenvalues(product, like, {.iterations = 50, .tolerance = 0});
  EXPECT_NEAR(all.largest, 12, 1e-5);
  EXPECT_NEAR(all.smallest, -3, 1e-5);
  EXPECT_LE(all.iterations, 11);  // the space has ten dimensions
  EXPECT_EQ(all.iterations, products);

  const Extremes loose = extreme_eigenvalues(product, like, {.iterations = 50, .tolerance = 0.1});
  EXPECT_LT(loose.iterations, all.iterations);
  EXPECT_NEAR(loose.largest, 12, 1.2);
  EXPECT_LE(loose.residual, 1.2);
}

struct OnMiniLM : ::testing::Test {
  const std::string minilm = (source / ".cache/models/minilm").string();
  MoRAModel model{load_model(minilm)};
  TaskData data;
  void SetUp() override {
    AdapterSpec spec;
    spec.kind = AdapterSpec::Kind::lora;
    spec.rank = 2;
    model.add_adapters(spec, std::vector<std::string>{"query", "value"}, 0);
    model.set_head(Pooling::mean, Classifier::fresh(2, 384, 1));
    TaskDataOptions options{.task = Task::classification,
                            .files = {(source / ".cache/data/reviews.train.tsv").string()},
                            .columns = {},
                            .labelled = true,
                            .known_labels = {}};
    options.columns.max_length = 24;
    std::vector<int64_t> rows(20);
    for (size_t i = 0; i < rows.size(); ++i) rows[i] = int64_t(i);
    data = TaskData(options, minilm).subset(rows);
  }
  std::vector<std::vector<float>> values() {
    std::vector<std::vector<float>> all;
    model.visit_parameters(
        [&](const std::string&, Tensor& t) { all.emplace_back(t.values<float>().begin(), t.values<float>().end()); });
    return all;
  }
};

TEST_F(OnMiniLM, TheCurveIsTheLossAndItsSlopeTheGradient) {
  const auto before = values();
  const Sharpness s =
      measure_sharpness(model, data, Task::classification, {.iterations = 30, .rho = 0.02, .points = 3, .seed = 4});
  EXPECT_EQ(values(), before);
  EXPECT_NEAR(s.loss, evaluate(model, data, Task::classification).loss, 1e-5);
  ASSERT_EQ(s.curve.size(), 3u);
  EXPECT_NEAR(s.curve[1].loss, s.loss, 1e-6);
  EXPECT_NEAR((s.curve[2].loss - s.curve[0].loss) / 0.04, s.gradient_norm, 0.02 * s.gradient_norm);
  // No direction curves more than the top eigenvalue, the gradient's among them.
  const double bend = (s.curve[2].loss - 2 * s.curve[1].loss + s.curve[0].loss) / (0.02 * 0.02);
  EXPECT_GT(s.hessian.largest, 0);
  EXPECT_LE(bend, 1.05 * s.hessian.largest);
  EXPECT_GE(bend, s.hessian.smallest - 0.05 * s.hessian.largest);
  EXPECT_LT(s.hessian.residual, 0.05 * s.hessian.largest);
}

TEST_F(OnMiniLM, WithoutAnythingTrainedThereIsNothingToLookAround) {
  MoRAModel bare(load_model(minilm));
  EXPECT_THROW(measure_sharpness(bare, data, Task::classification, {}), ConfigError);
}

}  // namespace
}  // namespace mora
