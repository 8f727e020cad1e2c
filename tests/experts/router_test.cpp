// Rules, gates and losses against a plain f64 reference written from the equations, forward and gradient.
#include "mora/experts/router.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "autograd/gradcheck.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/reduce.h"
#include "autograd/ops/shape.h"

namespace mora {
namespace {

using Rule = RoutingSpec::Rule;
using Row = std::vector<double>;

// --- the reference: one token at a time ------------------------------------------------------------------------------

Row softmax_of(const Row& logits) {
  double largest = -INFINITY, total = 0;
  for (double l : logits) largest = std::max(largest, l);
  Row p;
  for (double l : logits) total += p.emplace_back(std::exp(l - largest));
  for (double& v : p) v /= total;
  return p;
}

// How many experts come before i: of larger p, or of equal p and a smaller number.
int64_t place_of(const Row& p, size_t i) {
  int64_t before = 0;
  for (size_t j = 0; j < p.size(); ++j) before += p[j] > p[i] || (p[j] == p[i] && j < i);
  return before;
}

bool is_chosen(const RoutingSpec& spec, const Row& p, size_t i, double tau) {
  if (spec.rule == Rule::top_k) return place_of(p, i) < spec.top_k;
  if (spec.rule == Rule::threshold) return p[i] >= tau || place_of(p, i) == 0;
  double before = 0;  // of the experts ahead of i
  for (size_t j = 0; j < p.size(); ++j) before += place_of(p, j) < place_of(p, i) ? p[j] : 0;
  return before <= spec.top_p;
}

Row gates_of(const RoutingSpec& spec, const Row& logits, double tau) {
  const Row p = softmax_of(logits);
  Row gates(p.size());
  double total = 0;
  for (size_t i = 0; i < p.size(); ++i) {
    if (is_chosen(spec, p, i, tau)) gates[i] = p[i] - (spec.rule == Rule::threshold ? tau : 0);
    total += gates[i];
  }
  if (spec.rule != Rule::top_p)
    for (double& g : gates) g /= std::max(total, 1e-6);
  return gates;
}

// --- the cases -------------------------------------------------------------------------------------------------------

struct Case {
  const char* name;
  std::vector<Row> logits;
};
void PrintTo(const Case& tested, std::ostream* out) { *out << tested.name; }

std::vector<Row> random_rows(int64_t tokens, int64_t experts) {
  const RandomStream stream({.seed = 7});
  std::vector<Row> rows(static_cast<size_t>(tokens), Row(static_cast<size_t>(experts)));
  for (size_t i = 0; i < rows.size(); ++i)
    for (size_t j = 0; j < rows[i].size(); ++j) rows[i][j] = 2 * stream.normal(i * rows[i].size() + j);
  return rows;
}

const Case cases[] = {
    {"random", random_rows(33, 8)},
    {"one_token", random_rows(1, 5)},
    {"one_expert", random_rows(4, 1)},
    {"sixty_four_experts", random_rows(5, 64)},
    {"ties", {{0, 0, 0, 0}, {1, 1, 0, 0}, {0, 2, 2, 2}, {-1, -1, -1, 3}}},
    {"one_expert_takes_all", {{60, 0, 0}, {50, 1, -1}, {70, 0, 1}}},
    {"logits_far_from_zero", {{-900, -901, -902}, {900, 880, 899}}},
};

RoutingSpec spec_of(Rule rule, const Case& tested) {
  RoutingSpec spec{.rule = rule, .count = int64_t(tested.logits[0].size()), .top_k = 2, .top_p = 0.6};
  spec.top_k = std::min(spec.top_k, spec.count);
  return spec;
}

Tensor tensor_of(const std::vector<Row>& rows, DType dtype = DType::f64) {
  Tensor t = Tensor::empty({int64_t(rows.size()), int64_t(rows[0].size())}, DType::f64);
  double* to = t.mutable_data<double>();
  for (const Row& row : rows) to = std::copy(row.begin(), row.end(), to);
  return cast(t, dtype);
}

// τ of each token, off the p of any.
Tensor thresholds(const Case& tested, DType dtype = DType::f64) {
  std::vector<Row> rows;
  for (size_t i = 0; i < tested.logits.size(); ++i)
    rows.push_back({(0.3 + 0.05 * double(i % 8)) / double(tested.logits[0].size())});
  return tensor_of(rows, dtype);
}

struct RoutingRule : ::testing::TestWithParam<std::tuple<Rule, Case>> {
  Rule rule() const { return std::get<0>(GetParam()); }
  const Case& tested() const { return std::get<1>(GetParam()); }
  RoutingSpec spec() const { return spec_of(rule(), tested()); }
  Tensor taus(DType dtype = DType::f64) const {
    return rule() == Rule::threshold ? thresholds(tested(), dtype) : Tensor();
  }
};

TEST_P(RoutingRule, IsTheReference) {
  std::vector<int64_t> slots(size_t(spec().count));
  const Tensor tau = thresholds(tested());
  const Routing wide = route(spec(), tensor_of(tested().logits), taus());
  const Routing single = route(spec(), tensor_of(tested().logits, DType::f32), taus(DType::f32));
  for (size_t n = 0; n < tested().logits.size(); ++n) {
    const Row& logits = tested().logits[n];
    const Row expected = gates_of(spec(), logits, tau.data<double>()[n]);
    for (size_t i = 0; i < expected.size(); ++i) {
      const auto at = int64_t(n * expected.size() + i);
      EXPECT_NEAR(wide.gates.data<double>()[at], expected[i], 1e-12) << n << " " << i;
      EXPECT_NEAR(single.gates.data<float>()[at], expected[i], 1e-5) << n << " " << i;
      slots[i] += is_chosen(spec(), softmax_of(logits), i, tau.data<double>()[n]);
    }
  }
  EXPECT_EQ(wide.slots, slots);
  EXPECT_EQ(single.slots, slots);
}

TEST_P(RoutingRule, LossesAreTheReference) {
  const Tensor logits = tensor_of(tested().logits);
  const Routing routing = route(spec(), logits, taus());
  const double tokens = double(tested().logits.size());
  double z = 0, entropy = 0, balance = 0, slots = 0;
  for (int64_t count : routing.slots) slots += double(count);
  for (const Row& row : tested().logits) {
    const Row p = softmax_of(row);
    double largest = -INFINITY, total = 0;
    for (double l : row) largest = std::max(largest, l);
    for (double l : row) total += std::exp(l - largest);
    z += std::pow(largest + std::log(total), 2) / tokens;
    for (size_t i = 0; i < p.size(); ++i) {
      if (p[i] > 0) entropy -= p[i] * std::log(p[i]) / tokens;
      balance += double(p.size()) * double(routing.slots[i]) / slots * p[i] / tokens;
    }
  }
  EXPECT_NEAR(z_loss(logits).item(), z, 1e-9 * (1 + z));
  EXPECT_NEAR(entropy_loss(logits).item(), entropy, 1e-12);
  EXPECT_NEAR(balance_loss(routing).item(), balance, 1e-12);
}

// The choice is a constant: at a distance from its boundaries gates and losses are smooth.
TEST_P(RoutingRule, GradientsAreRightToSecondOrder) {
  if (std::string_view(tested().name) == "ties") GTEST_SKIP() << "the choice changes with any step";
  const Tensor weights = tensor_of(random_rows(int64_t(tested().logits.size()), spec().count));
  auto f = [&](std::span<const Tensor> in) -> Tensors {
    const Routing routing = route(spec(), in[0], rule() == Rule::threshold ? in[1] : Tensor());
    return {sum(routing.gates * weights) + balance_loss(routing) + entropy_loss(in[0])};
  };
  Tensors inputs{leaf(tensor_of(tested().logits))};
  if (rule() == Rule::threshold) inputs.push_back(leaf(taus()));
  EXPECT_EQ(check_grads(f, inputs), "");
}

INSTANTIATE_TEST_SUITE_P(Rules, RoutingRule,
                         ::testing::Combine(::testing::Values(Rule::top_k, Rule::top_p, Rule::threshold),
                                            ::testing::ValuesIn(cases)),
                         [](const auto& tested) {
                           return std::string(name_of(std::get<0>(tested.param))) + "_" +
                                  std::get<1>(tested.param).name;
                         });

// --- gradients and edges by hand -------------------------------------------------------------------------------------

TEST(Routing, ZLossHasItsGradient) {
  auto f = [](std::span<const Tensor> in) -> Tensors { return {z_loss(in[0])}; };
  EXPECT_EQ(check_grads(f, Tensors{leaf(tensor_of(random_rows(9, 4)))}), "");
}

// ∂/∂l of g = softmax over the chosen: g_i·(δ_ij − g_j), also where the unchosen one ties with the last chosen.
TEST(Routing, ATieHasTheGradientOfItsChoice) {
  const Tensor logits = leaf(tensor_of({{1, 0, 0}}));
  const Routing routing = route({.rule = Rule::top_k, .count = 3, .top_k = 2}, logits);
  EXPECT_EQ(routing.slots, (std::vector<int64_t>{1, 1, 0}));
  const Tensor g = grad(sum(routing.gates * tensor_of({{1, 0, 0}})), Tensors{logits})[0];
  const double first = 1 / (1 + std::exp(-1.0));
  EXPECT_NEAR(g.data<double>()[0], first * (1 - first), 1e-12);
  EXPECT_NEAR(g.data<double>()[1], -first * (1 - first), 1e-12);
  EXPECT_NEAR(g.data<double>()[2], 0, 1e-12);
}

TEST(Routing, AUniformRouterAtItsThresholdAddsNothing) {
  const RoutingSpec spec{.rule = Rule::threshold, .count = 4, .threshold = 0.25};
  const Routing routing = route(spec, tensor_of({{2, 2, 2, 2}}), tensor_of({{0.25}}));
  for (double g : routing.gates.values<double>()) EXPECT_EQ(g, 0);
}

TEST(Routing, AProbabilityOfOneTakesEveryExpert) {
  const Routing routing = route({.rule = Rule::top_p, .count = 3, .top_p = 1}, tensor_of({{0.3, -0.1, 0.2}}));
  EXPECT_EQ(routing.slots, (std::vector<int64_t>{1, 1, 1}));
}

// The mechanism: the flatter the router is on a token, the more experts the token gets, and never fewer.
TEST(Routing, MoreEntropyMeansMoreExperts) {
  const RoutingSpec spec{.rule = Rule::top_p, .count = 8, .top_p = 0.4};
  const std::vector<Row> logits = random_rows(200, 8);
  std::vector<double> active;
  for (double sharpness : {8.0, 2.0, 1.0, 0.5, 0.0}) {
    const Tensor scaled = tensor_of(logits) * sharpness;
    int64_t slots = 0;
    for (int64_t count : route(spec, scaled).slots) slots += count;
    EXPECT_GT(double(slots) / 200, active.empty() ? 0 : active.back()) << sharpness;
    active.push_back(double(slots) / 200);
  }
  EXPECT_LT(active.front(), 1.2);
  EXPECT_EQ(active.back(), 4);  // 3/8 < 0.4 < 4/8
}

TEST(Routing, TheSummaryIsOverTokensAndTheBusiestLayer) {
  RoutedLayers layers{{1, {10, {10, 10}, 5}}};
  accumulate(layers, {{1, {10, {5, 0}, 5}}, {2, {20, {0, 20, 0, 0}, 10}}});
  const RoutingSummary summary = summarize(layers);
  EXPECT_DOUBLE_EQ(summary.active_experts, 45.0 / 40);
  EXPECT_DOUBLE_EQ(summary.load_max, 4);
  EXPECT_DOUBLE_EQ(summary.entropy, 0.5);
}

}  // namespace
}  // namespace mora
