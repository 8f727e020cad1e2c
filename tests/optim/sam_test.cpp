// SAM against its equations on a quadratic; what happens to w when something is not finite; the kinds around
// optimizers.
#include "optim/sam.h"

#include <cmath>
#include <stdexcept>

#include "optim/mora_optimizer.h"
#include "optim/trajectory.h"

namespace mora {
namespace {

using Vector = std::vector<double>;

// L = ½wᵀHw over w = (a, b): two parameters of two and one elements; H symmetric, not diagonal.
constexpr double hessian[3][3] = {{3, 0.5, -0.2}, {0.5, 1, 0.3}, {-0.2, 0.3, 2}};
const Vector start = {0.7, -0.4, 1.1};

Vector gradient_at(const Vector& w) {
  Vector g(3);
  for (size_t i = 0; i < 3; ++i)
    for (size_t j = 0; j < 3; ++j) g[i] += hessian[i][j] * w[j];
  return g;
}
double dot(const Vector& a, const Vector& b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }
double norm(const Vector& a) { return std::sqrt(dot(a, a)); }
Vector plus(const Vector& a, double factor, const Vector& b) {
  return {a[0] + factor * b[0], a[1] + factor * b[1], a[2] + factor * b[2]};
}

std::vector<Parameter> quadratic_parameters(DType dtype = DType::f64) {
  auto tensor = [&](const Vector& v) {
    return dtype == DType::f64 ? Tensor::from(v, {int64_t(v.size())})
                               : Tensor::from(std::vector<float>(v.begin(), v.end()), {int64_t(v.size())});
  };
  return {{.name = "a", .value = tensor({start[0], start[1]})}, {.name = "b", .value = tensor({start[2]})}};
}
Tensors as_gradients(const Vector& g) {
  return {Tensor::from(Vector{g[0], g[1]}, {2}), Tensor::from(Vector{g[2]}, {1})};
}

// A step of `optimizer` on the quadratic; how many gradients it asked for.
int quadratic_step(MoRAOptimizer& optimizer, double lr) {
  int passes = 1;
  auto again = [&](Tensors& g) {
    ++passes;
    std::vector<Tensor> values;
    for (const Parameter& p : optimizer.parameters()) values.push_back(p.value);
    g = as_gradients(gradient_at(test::flat(values)));
    return true;
  };
  std::vector<Tensor> values;
  for (const Parameter& p : optimizer.parameters()) values.push_back(p.value);
  Tensors gradients = as_gradients(gradient_at(test::flat(values)));
  EXPECT_TRUE(optimizer.step(gradients, lr, again).applied);
  return passes;
}

Vector values_of(const MoRAOptimizer& optimizer) {
  std::vector<Tensor> values;
  for (const Parameter& p : optimizer.parameters()) values.push_back(p.value);
  return test::flat(values);
}

MoRAOptimizerOptions sgd_with(const SamOptions& sam) {
  return {.kind = "sgd", .weight_decay = 0, .momentum = 0, .sam = sam, .clip = std::nullopt};
}

void expect_near(const Vector& a, const Vector& b, double tolerance = 1e-14) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], tolerance) << i;
}

TEST(Sam, OfAQuadraticIsTheClosedForm) {
  const double rho = 0.3;
  MoRAOptimizer optimizer(quadratic_parameters(), sgd_with({.rho = rho}));
  EXPECT_EQ(quadratic_step(optimizer, 0.1), 2);
  const Vector g = gradient_at(start);  // H(w + ρHw/‖Hw‖)
  expect_near(values_of(optimizer), plus(start, -0.1, gradient_at(plus(start, rho / norm(g), g))), 1e-12);
}

TEST(Sam, AdaptiveScalesByTheWeights) {
  const double rho = 0.3, eta = 0.05;
  auto parameters = quadratic_parameters();
  parameters[1].is_weight = false;
  MoRAOptimizer optimizer(parameters, sgd_with({.kind = SamKind::asam, .rho = rho, .eta = eta}));
  quadratic_step(optimizer, 0.1);
  const Vector g = gradient_at(start), t = {std::abs(start[0]) + eta, std::abs(start[1]) + eta, 1};
  const Vector tg = {t[0] * g[0], t[1] * g[1], t[2] * g[2]}, ttg = {t[0] * tg[0], t[1] * tg[1], t[2] * tg[2]};
  expect_near(values_of(optimizer), plus(start, -0.1, gradient_at(plus(start, rho / norm(tg), ttg))), 1e-12);
}

TEST(Sam, AdaptiveMovesWhatStartsAtZero) {
  const Tensor zero = Tensor::zeros({2}, DType::f64);
  Sam sam(std::vector<Parameter>{{.name = "a", .value = zero}}, {.kind = SamKind::asam});
  Tensors g = {Tensor::from(Vector{3, 4}, {2})};
  const std::vector<Parameter> parameters = {{.name = "a", .value = zero}};
  Vector seen;
  auto again = [&](Tensors& at) {
    seen = test::flat(std::vector<Tensor>{zero});
    at = {Tensor::from(Vector{1, 1}, {2})};
    return true;
  };
  ASSERT_TRUE(sam.sharpen(parameters, g, again));
  expect_near(seen, {0.05 * 0.01 * 0.6, 0.05 * 0.01 * 0.8});  // ρ·T²g/‖Tg‖ with T = η
  expect_near(test::flat(std::vector<Tensor>{zero}), {0, 0}, 0);
}

TEST(Sam, LookSamGoesOnAlongItsMemory) {
  const double rho = 0.3, alpha = 0.6, lr = 0.1;
  MoRAOptimizer optimizer(quadratic_parameters(),
                          sgd_with({.kind = SamKind::looksam, .rho = rho, .interval = 3, .alpha = alpha}));
  Vector w = start, kept;
  for (int update = 0; update < 7; ++update) {
    const Vector g = gradient_at(w);
    if (update % 3 == 0) {
      const Vector g_s = gradient_at(plus(w, rho / norm(g), g));
      kept = plus(g_s, -dot(g, g_s) / dot(g, g), g);
      w = plus(w, -lr, g_s);
    } else {
      w = plus(w, -lr, plus(g, alpha * norm(g) / norm(kept), kept));
    }
    EXPECT_EQ(quadratic_step(optimizer, lr), update % 3 == 0 ? 2 : 1);
    expect_near(values_of(optimizer), w, 1e-12);
  }
}

TEST(Sam, LookSamGoesOnFromItsState) {
  const MoRAOptimizerOptions options = sgd_with({.kind = SamKind::looksam, .rho = 0.3, .interval = 4});
  MoRAOptimizer one(quadratic_parameters(), options), other(quadratic_parameters(), options);
  for (int i = 0; i < 2; ++i) quadratic_step(one, 0.1);
  std::vector<NamedTensor> state = one.state();
  for (size_t i = 0; i < 2; ++i) {
    Tensor to = other.parameters()[i].value;
    std::memcpy(to.mutable_raw(), one.parameters()[i].value.raw(), to.bytes());
  }
  other.load_state(state);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(quadratic_step(one, 0.1), quadratic_step(other, 0.1)) << i;
  EXPECT_EQ(values_of(one), values_of(other));

  std::erase_if(state, [](const NamedTensor& t) { return t.name == "b.sharpness"; });
  EXPECT_THROW(other.load_state(state), ConfigError);
  MoRAOptimizer plain(quadratic_parameters(), {.kind = "sgd", .momentum = 0});
  EXPECT_THROW(plain.load_state(one.state()), ConfigError);  // another optimizer's
}

// Whatever is not finite: nothing changes, in w, moments or memory.
TEST(Sam, AnOverflowInEitherPassRestoresEverything) {
  for (SamKind kind : {SamKind::sam, SamKind::asam, SamKind::looksam}) {
    for (const char* base : {"sgd", "adamw", "lars", "lamb"}) {
      MoRAOptimizer optimizer(quadratic_parameters(), {.kind = base, .sam = SamOptions{.kind = kind, .interval = 1}});
      quadratic_step(optimizer, 0.1);
      auto everything = [&] {
        Vector all = values_of(optimizer);
        for (const NamedTensor& s : optimizer.state())
          for (double x : test::flat(std::vector<Tensor>{s.tensor})) all.push_back(x);
        return all;
      };
      const Vector before = everything();
      const Vector good = gradient_at(start), bad = {1, std::nan(""), 2}, infinite = {INFINITY, 0, 0};
      struct Case {
        Vector first, second;
        bool finite_loss;
        const char* what;
      };
      for (const auto& [first, second, finite_loss, what] :
           {Case{bad, good, true, "the gradient of a"}, Case{infinite, good, true, "the gradient of a"},
            Case{good, bad, true, "the gradient of a"}, Case{good, good, false, "the loss of SAM's second pass"}}) {
        Tensors g = as_gradients(first);
        auto again = [&](Tensors& at) {
          EXPECT_NE(values_of(optimizer), Vector(before.begin(), before.begin() + 3));
          at = as_gradients(second);
          return finite_loss;
        };
        const auto outcome = optimizer.step(g, 0.1, again);
        EXPECT_FALSE(outcome.applied);
        EXPECT_EQ(outcome.not_finite, what);
        EXPECT_EQ(everything(), before) << base;
      }
    }
  }
}

TEST(Sam, AnExceptionInTheSecondPassPutsWBack) {
  MoRAOptimizer optimizer(quadratic_parameters(), sgd_with({}));
  Tensors g = as_gradients(gradient_at(start));
  auto again = [](Tensors&) -> bool { throw std::runtime_error("out of memory"); };
  EXPECT_THROW(optimizer.step(g, 0.1, again), std::runtime_error);
  EXPECT_EQ(values_of(optimizer), start);
}

// Clipping bounds what the update follows, not what chooses the perturbation.
TEST(Sam, TheSecondGradientIsWhatIsClipped) {
  MoRAOptimizerOptions options = sgd_with({.rho = 0.3});
  options.clip = 0.01;
  MoRAOptimizer optimizer(quadratic_parameters(), options);
  quadratic_step(optimizer, 1);
  const Vector g = gradient_at(start), g_s = gradient_at(plus(start, 0.3 / norm(g), g));
  expect_near(values_of(optimizer), plus(start, -0.01 / (norm(g_s) + 1e-6), g_s), 1e-12);
}

// Any optimizer around which SAM stands makes the step that it makes with SAM's gradient; LARS is the first paper's.
TEST(Sam, StandsAroundEveryOptimizer) {
  for (const char* base : {"sgd", "adamw", "lars", "lamb"}) {
    MoRAOptimizer with(quadratic_parameters(), {.kind = base, .sam = SamOptions{.rho = 0.3}});
    MoRAOptimizer without(quadratic_parameters(), {.kind = base});
    for (int i = 0; i < 5; ++i) {
      const Vector w = values_of(without), g = gradient_at(w);
      Tensors g_s = as_gradients(gradient_at(plus(w, 0.3 / norm(g), g)));
      auto never = [](Tensors&) -> bool { throw std::logic_error("no second pass without SAM"); };
      without.step(g_s, 0.05, never);
      quadratic_step(with, 0.05);
      expect_near(values_of(with), values_of(without), 1e-12);
    }
  }
}

TEST(Sam, RefusesWhatMakesNoSense) {
  EXPECT_THROW(Sam({}, {.rho = 0}), ConfigError);
  EXPECT_THROW(Sam({}, {.eta = -1}), ConfigError);
  EXPECT_THROW(Sam({}, {.interval = 0}), ConfigError);
  EXPECT_THROW(Sam({}, {.alpha = -1}), ConfigError);
}

}  // namespace
}  // namespace mora
