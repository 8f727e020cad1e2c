// Meta-gradients against the closed form of linear regression, finite differences through a transformer's inner loop,
// and the sinusoid task of the MAML paper.
#include "mora/learning/meta_gradient.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "adapters/adapted_model.h"
#include "autograd/gradcheck.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/elementary.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/reduce.h"
#include "autograd/ops/shape.h"
#include "goldens/formula.h"
#include "mora/adapters/mora.h"
#include "optim/adamw.h"

namespace mora {
namespace {

Tensor formula(std::string_view name, const Shape& shape) {
  std::vector<double> values;
  for (int64_t i = 0; i < shape.numel(); ++i) values.push_back(goldens::formula_value(name, uint64_t(i), 1));
  return Tensor::from(values, shape);
}

// K rows of a linear model of three weights: L = ‖Xw − y‖²/K.
struct LinearTask {
  static constexpr int64_t rows = 5, width = 3;
  Tensor xs = formula("xs", {rows, width}), ys = formula("ys", {rows, 1});
  Tensor xq = formula("xq", {rows, width}), yq = formula("yq", {rows, 1});
  Tensor theta = leaf(formula("theta", {width, 1}));

  static Tensor loss(const Tensor& x, const Tensor& y, const Tensor& w) { return mean(square(matmul(x, w) - y)); }
  static Tensor gradient(const Tensor& x, const Tensor& y, const Tensor& w) {
    return matmul(x, matmul(x, w) - y, true, false) * (2.0 / rows);
  }
  MetaGradient run(const InnerLoop& loop, std::span<const Tensor> rates = {}) const {
    auto support = [&](std::span<const Tensor> w) { return loss(xs, ys, w[0]); };
    auto query = [&](std::span<const Tensor> w) { return loss(xq, yq, w[0]); };
    return meta_gradient(support, query, std::span(&theta, 1), rates, loop);
  }
};

void expect_near(const Tensor& actual, const Tensor& expected, double tolerance = 1e-10) {
  ASSERT_EQ(actual.shape(), expected.shape());
  const Tensor a = contiguous(actual), b = contiguous(expected);
  for (int64_t i = 0; i < a.numel(); ++i) EXPECT_NEAR(a.data<double>()[i], b.data<double>()[i], tolerance) << i;
}

TEST(MetaGradient, OfLinearRegressionIsTheClosedForm) {
  const LinearTask t;
  for (int64_t steps : {1, 3}) {
    const double alpha = 0.1;
    const NoGrad no_grad;
    Tensor phi = t.theta.detach();
    for (int64_t k = 0; k < steps; ++k) phi = phi - LinearTask::gradient(t.xs, t.ys, phi) * alpha;
    const Tensor at_phi = LinearTask::gradient(t.xq, t.yq, phi);
    Tensor expected = at_phi;  // (I − αH_s)^steps ∇L_q(φ),  H_s = 2XᵀX/K
    for (int64_t k = 0; k < steps; ++k)
      expected = expected - matmul(t.xs, matmul(t.xs, expected), true, false) * (2 * alpha / LinearTask::rows);
    const GradMode record(true);
    const auto maml = t.run({.kind = MetaKind::maml, .steps = steps, .rate = alpha, .is_head = {}});
    expect_near(maml.gradients[0], expected);
    EXPECT_NEAR(maml.query_loss, LinearTask::loss(t.xq, t.yq, phi).item(), 1e-12);
    expect_near(t.run({.kind = MetaKind::fomaml, .steps = steps, .rate = alpha, .is_head = {}}).gradients[0], at_phi);
    expect_near(t.run({.kind = MetaKind::reptile, .steps = steps, .rate = alpha, .is_head = {}}).gradients[0],
                t.theta.detach() - phi);
    expect_near(t.run({.kind = MetaKind::anil, .steps = steps, .rate = alpha, .is_head = {true}}).gradients[0],
                expected);
    expect_near(t.run({.kind = MetaKind::anil, .steps = steps, .rate = alpha, .is_head = {false}}).gradients[0],
                LinearTask::gradient(t.xq, t.yq, t.theta.detach()));
  }
}

TEST(MetaGradient, MetaSgdLearnsARateForEachElement) {
  const LinearTask t;
  const Tensor rates = leaf(Tensor::from(std::vector<double>{0.1, 0.05, 0.2}, {3, 1}));
  const auto found = t.run({.kind = MetaKind::metasgd, .steps = 1, .rate = 0, .is_head = {}}, std::span(&rates, 1));
  const NoGrad no_grad;
  const Tensor g = LinearTask::gradient(t.xs, t.ys, t.theta.detach());
  const Tensor at_phi = LinearTask::gradient(t.xq, t.yq, t.theta.detach() - rates.detach() * g);
  const Tensor through = matmul(t.xs, matmul(t.xs, rates.detach() * at_phi), true, false) * (2.0 / LinearTask::rows);
  expect_near(found.gradients[0], at_phi - through);  // (I − H_s diag α) ∇L_q(φ)
  expect_near(found.gradients[1], -(g * at_phi));     // ∂φ/∂α = −g
}

// M of MoRA on the attention of a small BERT, in f64: the meta-gradient along a direction against central differences
// of the loss after the inner loop.
TEST(MetaGradient, ThroughATransformersInnerLoopAgreesWithFiniteDifferences) {
  MoRAModel model(load_model(test::golden_models / "bert", DType::f64));
  uint64_t index = 0;
  std::vector<std::string> paths;
  model.base().visit_linears([&](const std::string& path, LinearSlot&) {
    if (path.ends_with("query") || path.ends_with("value")) paths.push_back(path);
  });
  for (const std::string& path : paths) {
    const Linear& linear = **model.find(path)->slot;
    model.attach(path, std::make_unique<MoRA>(AdapterSpec{}, linear.in(), linear.out(), 4, ++index, DType::f64));
  }
  std::vector<Tensor*> slots;
  Tensors theta, direction;
  model.visit_parameters([&](const std::string& name, Tensor& value) {
    slots.push_back(&value);
    theta.push_back(leaf(formula(name, value.shape()) * 0.2));
    direction.push_back(formula(name + ".direction", value.shape()));
  });
  auto loss_of = [&](const std::vector<int32_t>& ids, std::string_view target) {
    return [&, ids, target](std::span<const Tensor> values) {
      for (size_t i = 0; i < slots.size(); ++i) *slots[i] = values[i];
      const Shape rows{int64_t(ids.size())};
      std::vector<int32_t> positions(ids.size());
      for (size_t i = 0; i < ids.size(); ++i) positions[i] = int32_t(i);
      Context context;
      const Tensor hidden =
          model.base().hidden_states({.ids = Tensor::from(ids, rows),
                                      .positions = Tensor::from(positions, rows),
                                      .offsets = Tensor::from(std::vector<int32_t>{0, int32_t(ids.size())}, {2})},
                                     context);
      return mean(square(hidden - formula(target, hidden.shape())));
    };
  };
  auto support = loss_of({5, 9, 3, 17, 8}, "support"), query = loss_of({4, 11, 6, 2}, "query");
  for (MetaKind kind : {MetaKind::maml, MetaKind::anil}) {
    InnerLoop loop{.kind = kind, .steps = 2, .rate = 0.5, .is_head = std::vector<bool>(theta.size())};
    loop.is_head.back() = true;
    const Tensors g = meta_gradient(support, query, theta, {}, loop).gradients;
    double along = 0;
    for (size_t i = 0; i < g.size(); ++i) along += sum(g[i] * direction[i]).item();
    auto after = [&](double h) {
      Tensors moved;
      for (size_t i = 0; i < theta.size(); ++i) moved.push_back(leaf(theta[i].detach() + direction[i] * h));
      return query(adapt_to(support, moved, {}, loop, false)).item();
    };
    const double step = 1e-5, numerical = (after(step) - after(-step)) / (2 * step);
    EXPECT_NEAR(along, numerical, 1e-7 * (1 + std::abs(numerical)));
    const InnerLoop first_order{.kind = MetaKind::fomaml, .steps = 2, .rate = 0.5, .is_head = {}};
    double first = 0;
    const Tensors f = meta_gradient(support, query, theta, {}, first_order).gradients;
    for (size_t i = 0; i < f.size(); ++i) first += sum(f[i] * direction[i]).item();
    EXPECT_GT(std::abs(first - numerical), 1e-4 * std::abs(numerical));  // the second derivatives matter here
  }
  for (size_t i = 0; i < slots.size(); ++i) *slots[i] = theta[i];
}

// y = A·sin(x − φ), A ∈ [0.1, 5], φ ∈ [0, π], x ∈ [−5, 5]; a network 1-40-40-1 with ReLU.
class Sinusoids {
 public:
  Sinusoids() {
    uint64_t layer = 0;
    for (const auto& [out, in] : {std::pair<int64_t, int64_t>{40, 1}, {40, 40}, {1, 40}}) {
      const RandomStream stream({.seed = 1, .layer = ++layer, .purpose = Purpose::init});
      std::vector<float> w(size_t(out * in));
      for (size_t i = 0; i < w.size(); ++i)
        w[i] = float((2 * double(stream.uniform(i)) - 1) * std::sqrt(6.0 / double(in + out)));
      theta.push_back(leaf(Tensor::from(w, {out, in})));
      theta.push_back(leaf(Tensor::zeros({out})));
    }
  }
  static Tensor predict(const Tensor& x, std::span<const Tensor> p) {
    const Tensor h = relu(matmul(x, p[0], false, true) + p[1]);
    return matmul(relu(matmul(h, p[2], false, true) + p[3]), p[4], false, true) + p[5];
  }
  struct Rows {
    Tensor x, y;
    auto loss() const {
      return [this](std::span<const Tensor> p) { return mean(square(predict(x, p) - y)); };
    }
  };
  // Rows number `part` of task `task`.
  static Rows rows(uint64_t task, uint64_t part, int64_t count) {
    const RandomStream stream({.seed = 2, .step = task, .layer = part, .purpose = Purpose::meta});
    const RandomStream wave({.seed = 3, .step = task, .purpose = Purpose::meta});
    const double amplitude = 0.1 + 4.9 * double(wave.uniform(0)), phase = std::numbers::pi * double(wave.uniform(1));
    std::vector<float> x, y;
    for (int64_t i = 0; i < count; ++i) {
      x.push_back(10 * stream.uniform(uint64_t(i)) - 5);
      y.push_back(float(amplitude * std::sin(double(x.back()) - phase)));
    }
    return {Tensor::from(x, {count, 1}), Tensor::from(y, {count, 1})};
  }
  Tensors theta;
};

// A few thousand of the paper's 60,000 steps are enough.
TEST(MetaGradient, MamlLearnsSinusoidsFromTenPoints) {
  Sinusoids s;
  const InnerLoop loop{.kind = MetaKind::maml, .steps = 1, .rate = 0.01, .is_head = {}};
  std::vector<Parameter> parameters;
  for (size_t i = 0; i < s.theta.size(); ++i) parameters.push_back({.name = std::to_string(i), .value = s.theta[i]});
  AdamW adam(parameters, {.weight_decay = 0});
  uint64_t task = 0;
  for (int step = 0; step < 3000; ++step) {
    Tensors sums;
    for (int k = 0; k < 25; ++k, ++task) {
      const auto support = Sinusoids::rows(task, 0, 10), query = Sinusoids::rows(task, 1, 10);
      Tensors g = meta_gradient(support.loss(), query.loss(), s.theta, {}, loop).gradients;
      for (size_t i = 0; i < g.size(); ++i)
        sums.size() < g.size() ? sums.push_back(g[i]) : void(sums[i] = sums[i] + g[i]);
    }
    for (Tensor& g : sums) g = g * (1.0 / 25);
    adam.step(sums, 1e-3);
  }
  double before = 0, after = 0;
  for (uint64_t test = 0; test < 200; ++test) {
    const auto support = Sinusoids::rows(1'000'000 + test, 0, 10), query = Sinusoids::rows(1'000'000 + test, 1, 100);
    before += query.loss()(s.theta).item() / 200;
    after += query.loss()(adapt_to(support.loss(), s.theta, {}, loop, false)).item() / 200;
  }
  EXPECT_GT(before, 2.7);  // 3.006 is the least that any fixed function reaches, in the mean over all tasks
  EXPECT_LT(after, 1.0);
  RecordProperty("mean_squared_error", std::to_string(after));
}

}  // namespace
}  // namespace mora
