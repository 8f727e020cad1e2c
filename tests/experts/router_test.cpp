// Every routing rule and loss against a plain reference in f64, written from the equations on the top of router.h: the
// choice, the gates, the loss, and the gradient of a weighted sum of both against central differences of the reference.
#include "mora/experts/router.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <numeric>

#include "autograd/gradcheck.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/reduce.h"
#include "autograd/ops/shape.h"
#include "tolerance.h"

namespace mora {
namespace {

using Rule = RoutingSpec::Rule;
using Row = std::vector<double>;
using Matrix = std::vector<Row>;

// The router's inputs and parameters as plain numbers.
struct Problem {
  RoutingSpec spec;
  Matrix x, w;                // (N, in), (E, in)
  Row threshold_weight;       // (in)
  double threshold_bias = 0;  //
  Row expert_threshold;       // (E)
  Matrix seed;                // (N, E): weights of the gates in the sum that is differentiated
};

double sigma(double v) { return 1 / (1 + std::exp(-v)); }
double dot(const Row& a, const Row& b) { return std::inner_product(a.begin(), a.end(), b.begin(), 0.0); }

struct Reference {
  Matrix logits, p, margin;

  explicit Reference(const Problem& in) {
    for (const Row& x : in.x) {
      Row z, q, m;
      for (const Row& w : in.w)
        z.push_back(in.spec.rule == Rule::dynmoe ? 2 * dot(x, w) / std::sqrt((dot(x, x) + 1e-12) * (dot(w, w) + 1e-12))
                                                 : dot(x, w));
      for (double v : z) q.push_back(in.spec.rule == Rule::dynmoe ? sigma(v) : std::exp(v));
      for (size_t e = 0; e < z.size(); ++e) {
        if (in.spec.rule == Rule::dynmoe) m.push_back(q[e] - sigma(in.expert_threshold[e]));
      }
      const double total = std::accumulate(q.begin(), q.end(), 0.0);
      for (double& v : q) v /= total;
      if (in.spec.rule == Rule::threshold)
        for (double v : q) m.push_back(v - *in.spec.threshold * sigma(dot(x, in.threshold_weight) + in.threshold_bias));
      logits.push_back(z), p.push_back(q), margin.push_back(m);
    }
  }

  // Largest first, of equals the first.
  static std::vector<size_t> order(const Row& p) {
    std::vector<size_t> all(p.size());
    std::iota(all.begin(), all.end(), size_t{0});
    std::stable_sort(all.begin(), all.end(), [&](size_t a, size_t b) { return p[a] > p[b]; });
    return all;
  }

  Matrix chosen(const RoutingSpec& spec) const {
    Matrix all;
    for (size_t n = 0; n < p.size(); ++n) {
      Row c(p[n].size(), 0.0);
      const std::vector<size_t> ranked = order(p[n]);
      if (spec.rule == Rule::top_k)
        for (int64_t i = 0; i < spec.top_k; ++i) c[ranked[size_t(i)]] = 1;
      if (spec.rule == Rule::top_p) {
        double total = 0;
        for (size_t i = 0; i < ranked.size() && total <= spec.top_p; ++i) total += p[n][ranked[i]], c[ranked[i]] = 1;
      }
      for (size_t e = 0; e < c.size(); ++e) {
        if (spec.rule == Rule::threshold) c[e] = margin[n][e] >= 0;
        if (spec.rule == Rule::dynmoe) c[e] = margin[n][e] > 0;
      }
      if (std::accumulate(c.begin(), c.end(), 0.0) == 0) c[ranked[0]] = 1;
      all.push_back(c);
    }
    return all;
  }
};

Matrix without_overflow(Matrix chosen, double capacity) {
  const double room = std::ceil(double(chosen.size()) / double(chosen[0].size()) * capacity);
  Row taken(chosen[0].size(), 0.0);
  for (Row& row : chosen)
    for (size_t e = 0; e < row.size(); ++e)
      if (row[e] == 1 && (taken[e] += 1) > room) row[e] = 0;
  return chosen;
}

// The gates for a choice that is held fast, with the margins `at` for the straight-through part.
Matrix gates_of(const Problem& in, const Reference& r, const Reference& at, const Matrix& chosen) {
  Matrix gates = chosen;
  for (size_t n = 0; n < gates.size(); ++n) {
    double total = 0;
    for (size_t e = 0; e < gates[n].size(); ++e) {
      double& g = gates[n][e];
      if (in.spec.rule == Rule::threshold)
        g *= std::max(0.0, r.margin[n][e]);
      else if (in.spec.rule != Rule::dynmoe)
        g *= r.p[n][e];
      total += g;
    }
    for (size_t e = 0; e < gates[n].size(); ++e) {
      if (in.spec.rule == Rule::top_k) gates[n][e] /= total;
      if (in.spec.rule == Rule::threshold) gates[n][e] /= std::max(total, 1e-6);
      if (in.spec.rule == Rule::dynmoe) gates[n][e] *= (1 + r.margin[n][e] - at.margin[n][e]) / total;
    }
  }
  return gates;
}

double loss_of(const RoutingSpec& spec, const Reference& r, const Matrix& chosen) {
  const size_t rows = chosen.size(), experts = chosen[0].size();
  double all = 0, balance = 0, z = 0, entropy = 0;
  Row share(experts, 0.0), p(experts, 0.0);
  for (size_t n = 0; n < rows; ++n) {
    double exponentials = 0;
    for (size_t e = 0; e < experts; ++e) {
      all += chosen[n][e], share[e] += chosen[n][e], p[e] += r.p[n][e] / double(rows);
      entropy -= r.p[n][e] * std::log(r.p[n][e]) / double(rows);
      exponentials += std::exp(r.logits[n][e]);
    }
    z += std::pow(std::log(exponentials), 2) / double(rows);
  }
  for (size_t e = 0; e < experts; ++e) balance += double(experts) * share[e] / all * p[e];
  return spec.balance * balance + spec.z_loss * z + (spec.rule == Rule::top_p ? spec.entropy * entropy : 0);
}

Row random_row(int64_t n) {
  const RandomStream stream({.seed = 12, .layer = uint64_t(n)});
  Row r;
  for (int64_t i = 0; i < n; ++i) r.push_back(stream.normal(uint64_t(i)));
  return r;
}

Problem random_problem(Rule rule, int64_t rows, int64_t experts, int64_t in, uint64_t layer) {
  uint64_t drawn = 0;
  const RandomStream stream({.seed = 11, .layer = layer});
  const auto row = [&](int64_t n) {
    Row r;
    for (int64_t i = 0; i < n; ++i) r.push_back(stream.normal(drawn++));
    return r;
  };
  const auto matrix = [&](int64_t n, int64_t d) {
    Matrix m;
    for (int64_t i = 0; i < n; ++i) m.push_back(row(d));
    return m;
  };
  Problem p{};
  p.spec = {.rule = rule,
            .levels = {experts},
            .top_k = std::min<int64_t>(2, experts),
            .threshold = 1 / double(experts),
            .noise = 0,
            .balance = 0.5,
            .z_loss = 0.25,
            .entropy = 0.125};
  p.x = matrix(rows, in), p.w = matrix(experts, in), p.threshold_weight = row(in);
  p.expert_threshold = row(experts), p.seed = matrix(rows, experts);
  return p;
}

Tensor tensor_of(const Matrix& m) {
  Row all;
  for (const Row& row : m) all.insert(all.end(), row.begin(), row.end());
  return Tensor::from(all, {int64_t(m.size()), int64_t(m[0].size())});
}

// A router whose parameters have these values; those that are not named are normal numbers.
ExpertRouter router_of(const RoutingSpec& spec, int64_t in, const std::map<std::string, Tensor>& given = {}) {
  return ExpertRouter(spec, in, [&](const std::string& name, const Shape& shape) {
    if (given.empty()) return leaf(Tensor::from(random_row(shape.numel()), shape));
    EXPECT_EQ(given.at(name).shape(), shape) << name;
    return leaf(given.at(name));
  });
}

// The real router with the problem's parameters, in f64.
struct Made {
  ExpertRouter router;
  std::map<std::string, Tensor> parameters;

  explicit Made(const Problem& in)
      : router(router_of(in.spec, int64_t(in.w[0].size()),
                         {{"router.weight", tensor_of(in.w)},
                          {"router.threshold_weight", tensor_of({in.threshold_weight})},
                          {"router.threshold_bias", Tensor::from(Row{in.threshold_bias}, {1})},
                          {"router.expert_threshold", Tensor::from(in.expert_threshold, {in.spec.experts()})}})) {
    router.visit_parameters([&](const std::string& name, Tensor& value) { parameters[name] = value; });
  }
};

double scalar_of(const Problem& in, const Reference& at, const Matrix& chosen, const Matrix& kept) {
  const Reference r(in);
  const Matrix gates = gates_of(in, r, at, kept);
  double total = loss_of(in.spec, r, chosen);
  for (size_t n = 0; n < gates.size(); ++n) total += dot(gates[n], in.seed[n]);
  return total;
}

void expect_near(const Tensor& actual, const Row& expected, double tolerance, const std::string& what) {
  ASSERT_EQ(actual.numel(), std::ssize(expected)) << what;
  for (size_t i = 0; i < expected.size(); ++i)
    ASSERT_NEAR(contiguous(actual).values<double>()[i], expected[i], tolerance * (1 + std::abs(expected[i])))
        << what << " " << i;
}

Row flat(const Matrix& m) {
  Row all;
  for (const Row& row : m) all.insert(all.end(), row.begin(), row.end());
  return all;
}

// Forward and gradient of x and of every parameter.
void check_against_reference(Problem in, const std::string& name) {
  SCOPED_TRACE(name);
  const Reference at(in);
  const Matrix chosen = at.chosen(in.spec);
  const Matrix kept = in.spec.rule == Rule::switch_top1 ? without_overflow(chosen, in.spec.capacity) : chosen;

  Made made(in);
  Context context;
  context.training = true;
  const Tensor x = leaf(tensor_of(in.x));
  RoutedLayers routed;
  context.routed = &routed;
  const Routes routes = made.router.route(x, context, 3);
  expect_near(routes.chosen, flat(kept), 0, "chosen");
  expect_near(routes.gates, flat(gates_of(in, at, at, kept)), test::tolerance(DType::f64), "gates");
  ASSERT_EQ(context.losses.size(), 1u);
  EXPECT_NEAR(context.losses[0].item(), loss_of(in.spec, at, chosen), 1e-12);
  for (size_t e = 0; e < chosen[0].size(); ++e) {
    double load = 0;
    for (const Row& row : kept) load += row[e];
    EXPECT_EQ(double(routed.at(3).slots[0][e]), load) << "load of expert " << e;
  }

  const Tensor total = sum(routes.gates * tensor_of(in.seed)) + context.losses[0];
  std::vector<Tensor> leaves{x};
  std::vector<std::pair<std::string, std::vector<double*>>> numbers{{"x", {}}};
  for (Row& row : in.x)
    for (double& v : row) numbers[0].second.push_back(&v);
  for (const auto& [key, value] : made.parameters) {
    leaves.push_back(value);
    auto& list = numbers.emplace_back(key, std::vector<double*>()).second;
    if (key == "router.weight")
      for (Row& row : in.w)
        for (double& v : row) list.push_back(&v);
    if (key == "router.threshold_weight")
      for (double& v : in.threshold_weight) list.push_back(&v);
    if (key == "router.threshold_bias") list.push_back(&in.threshold_bias);
    if (key == "router.expert_threshold")
      for (double& v : in.expert_threshold) list.push_back(&v);
  }
  const Tensors gradients = grad(total, leaves);
  for (size_t i = 0; i < leaves.size(); ++i) {
    Row expected;
    for (double* v : numbers[i].second) {
      constexpr double h = 1e-5;
      const double was = *v;
      *v = was + h;
      const double above = scalar_of(in, at, chosen, kept);
      *v = was - h;
      expected.push_back((above - scalar_of(in, at, chosen, kept)) / (2 * h));
      *v = was;
    }
    expect_near(gradients[i], expected, 1e-7, "gradient of " + numbers[i].first);
  }
}

constexpr Rule all_rules[] = {Rule::top_k, Rule::top_p, Rule::threshold, Rule::dynmoe, Rule::switch_top1};

std::string name_of_rule(const testing::TestParamInfo<Rule>& rule) {
  constexpr const char* names[] = {"TopK", "TopP", "Threshold", "DynMoe", "Switch"};
  return names[size_t(rule.param)];
}

class ExpertRouterTest : public testing::TestWithParam<Rule> {};
INSTANTIATE_TEST_SUITE_P(EveryRule, ExpertRouterTest, testing::ValuesIn(all_rules), name_of_rule);

TEST_P(ExpertRouterTest, IsTheReferenceOnRandomInputs) {
  for (int64_t experts : {1, 2, 5, 16}) {
    check_against_reference(random_problem(GetParam(), 7, experts, 3, uint64_t(experts)),
                            std::to_string(experts) + " experts");
  }
}

TEST_P(ExpertRouterTest, IsTheReferenceOnOneToken) {
  check_against_reference(random_problem(GetParam(), 1, 4, 3, 2), "one token");
}

TEST_P(ExpertRouterTest, IsTheReferenceOnTies) {
  Problem in = random_problem(GetParam(), 5, 4, 3, 3);
  in.w[1] = in.w[2] = in.w[0];
  in.expert_threshold[1] = in.expert_threshold[2] = in.expert_threshold[0];
  check_against_reference(std::move(in), "three equal experts");
}

// Also an expert without tokens, and for switch the overflow of the one that all want.
TEST_P(ExpertRouterTest, IsTheReferenceWhereOneExpertTakesAll) {
  Problem in = random_problem(GetParam(), 8, 4, 3, 4);
  in.spec.top_k = 1;
  for (Row& row : in.x) row[0] = 2 + std::abs(row[0]);
  in.w = {{-3, 0.1, 0}, {0.1, 0, -0.1}, {3, 0.1, 0.2}, {-2, 0, 0.3}};
  in.expert_threshold = {0.5, 1.5, 0.5, 0.5};
  check_against_reference(std::move(in), "one expert takes all");
}

TEST_P(ExpertRouterTest, DifferentiatesToSecondOrder) {
  const Problem in = random_problem(GetParam(), 3, 4, 3, 5);
  // dynmoe's gates are a surrogate that the values do not follow: its losses alone can be compared with differences.
  const bool surrogate = GetParam() == Rule::dynmoe;
  Made made(in);
  std::vector<Tensor> inputs{tensor_of(in.x)};
  made.router.visit_parameters([&](const std::string& name, Tensor& value) {
    if (!surrogate || name != "router.expert_threshold") inputs.push_back(value.detach());
  });
  auto f = [&](std::span<const Tensor> given) -> Tensors {
    size_t next = 1;
    made.router.visit_parameters([&](const std::string& name, Tensor& value) {
      if (!surrogate || name != "router.expert_threshold") value = given[next++];
    });
    Context context;
    context.training = true;
    const Routes routes = made.router.route(given[0], context, 3);
    return surrogate ? Tensors{context.losses[0]} : Tensors{routes.gates, context.losses[0]};
  };
  EXPECT_EQ(check_grads(f, inputs, {.order = 2}), "");
}

TEST_P(ExpertRouterTest, WithoutTokensThereAreNoGatesAndNoLoss) {
  const ExpertRouter router = router_of({.rule = GetParam(), .levels = {4}}, 3);
  Context context;
  context.training = true;
  EXPECT_EQ(router.route(Tensor::zeros({0, 3}, DType::f64), context, 1).gates.shape(), (Shape{0, 4}));
  EXPECT_TRUE(context.losses.empty());
}

// --- the mechanism ---------------------------------------------------------------------------------------------------

RoutingSummary summary_of(const ExpertRouter& router, const Tensor& x, bool training = false, uint64_t step = 0) {
  RoutedLayers routed;
  Context context;
  context.training = training;
  context.step = step;
  context.routed = &routed;
  router.route(x, context, 1);
  return summarize(routed);
}

TEST(ExpertRouter, TokensOfHigherEntropyUseMoreExpertsWithTopP) {
  Problem in = random_problem(Rule::top_p, 1, 6, 1, 6);
  in.w = {{5}, {4}, {3}, {2}, {1}, {0}};
  double experts_before = 7, entropy_before = 10;
  for (double sharpness : {0.0, 0.1, 0.4, 2.0}) {
    in.x = {{sharpness}};
    const RoutingSummary s = summary_of(Made(in).router, tensor_of(in.x));
    EXPECT_LT(s.entropy, entropy_before);
    EXPECT_LE(s.active_experts, experts_before);
    entropy_before = s.entropy, experts_before = s.active_experts;
    if (sharpness == 0) {
      EXPECT_EQ(s.active_experts, 3);  // the least n with n/6 > 0.4
    }
  }
  EXPECT_EQ(experts_before, 1);
}

TEST(ExpertRouter, WhatEachTokenUsedIsSummedOverLayers) {
  const ExpertRouter router =
      router_of({.rule = Rule::top_p, .levels = {4}}, 1, {{"router.weight", tensor_of({{5}, {3}, {1}, {0}})}});
  TokenRouting tokens;
  Context context;
  context.by_token = &tokens;
  for (uint64_t layer : {1, 2}) router.route(tensor_of({{0}, {2}}), context, layer);
  EXPECT_EQ(tokens.layers, 2);
  EXPECT_EQ(tokens.experts, (Row{2 * 2, 2 * 1}));  // the least n with n/4 > 0.4; the first, of p ≈ 1
  EXPECT_NEAR(tokens.entropy[0], 2 * std::log(4), 1e-9);
  EXPECT_LT(tokens.entropy[1], 0.3);
}

TEST(ExpertRouter, NoiseAndCapacityAreOfTrainingAlone) {
  const ExpertRouter router = router_of({.rule = Rule::switch_top1, .levels = {2}, .noise = 0.5}, 2);
  const Tensor x = Tensor::from(Row{1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2}, {6, 2});
  const auto gates = [&](bool training, uint64_t step) {
    Context context;
    context.training = training;
    context.step = step;
    const Tensor g = router.route(x, context, 1).gates;
    return Row(g.values<double>().begin(), g.values<double>().end());
  };
  EXPECT_EQ(gates(false, 1), gates(false, 2));
  EXPECT_EQ(summary_of(router, x).active_experts, 1);
  EXPECT_EQ(gates(true, 1), gates(true, 1));  // drawn from the step, not from a state
  EXPECT_NE(gates(true, 1), gates(true, 2));
}

TEST(ExpertRouter, TokensThatNoThresholdLetsInAreSummed) {
  const ExpertRouter router =
      router_of({.rule = Rule::dynmoe, .levels = {1}}, 2,
                {{"router.weight", tensor_of({{1, 0}})}, {"router.expert_threshold", Tensor::from(Row{0}, {1})}});
  RoutedLayers routed;
  Context context;
  context.training = true;
  context.routed = &routed;
  router.route(tensor_of({{2, 0}, {-3, 0}, {-3, 4}}), context, 1);  // cosines 1, −1, −0.6
  ASSERT_EQ(routed.at(1).unrouted.size(), 2U);
  EXPECT_NEAR(routed.at(1).unrouted[0], -1.6, 1e-9);
  EXPECT_NEAR(routed.at(1).unrouted[1], 0.8, 1e-9);
  EXPECT_EQ(routed.at(1).slots[0][0], 3);  // they use their likeliest all the same
}

TEST(ExpertRouter, LogitsThatAreNotNumbersStillChoose) {
  const ExpertRouter router = router_of({.levels = {4}}, 2);
  EXPECT_EQ(summary_of(router, Tensor::from(Row{NAN, 1}, {1, 2})).active_experts, 2);
}

TEST(ExpertRouter, WrongSpecsAndShapesAreErrors) {
  for (const RoutingSpec& wrong :
       {RoutingSpec{.levels = {0}}, RoutingSpec{.levels = {2}, .top_k = 3},
        RoutingSpec{.rule = Rule::top_p, .top_p = 0},
        RoutingSpec{.rule = Rule::threshold, .levels = {4}, .threshold = 0.26},
        RoutingSpec{.rule = Rule::switch_top1, .capacity = 0}, RoutingSpec{.rule = Rule::dynmoe, .levels = {2, 2}}})
    EXPECT_THROW(router_of(wrong, 3), ConfigError);
  Context context;
  EXPECT_THROW(router_of({}, 3).route(Tensor::zeros({2, 4}), context, 1), ShapeError);
}

TEST(ExpertRouter, NoTokenUsesMoreThanTheSpecSays) {
  for (const Rule rule : all_rules) {
    for (const std::vector<int64_t>& levels : {std::vector<int64_t>{5}, {3, 4}}) {
      if (rule == Rule::dynmoe && levels.size() > 1) continue;
      const RoutingSpec spec{.rule = rule, .levels = levels, .top_k = 2};
      const double used = summary_of(router_of(spec, 3), Tensor::from(random_row(60), {20, 3})).active_experts;
      EXPECT_LE(used, double(spec.most_active()));
      if (rule == Rule::top_k) {
        EXPECT_EQ(used, levels.size() == 1 ? 2 : 2 + 4);
      }
    }
  }
}

TEST(ExpertRouter, TheSummaryIsOverTokensAndTheBusiestLevel) {
  RoutedLayers layers{{1, {.tokens = 10, .slots = {{10, 10}}, .entropy = 5, .steps = 0, .unrouted = {}}}};
  accumulate(layers,
             {{1, {.tokens = 10, .slots = {{5, 0}}, .entropy = 5, .steps = 0, .unrouted = {}}},
              {2, {.tokens = 20, .slots = {{10, 10}, {0, 20, 0, 0}}, .entropy = 10, .steps = 0, .unrouted = {}}}});
  const RoutingSummary summary = summarize(layers);
  EXPECT_DOUBLE_EQ(summary.active_experts, 65.0 / 40);
  EXPECT_DOUBLE_EQ(summary.load_max, 4);
  EXPECT_EQ(summary.load_min, 0);
  layers.erase(2);
  EXPECT_DOUBLE_EQ(summarize(layers).load_min, 0.8);
  EXPECT_DOUBLE_EQ(summary.entropy, 0.5);
  EXPECT_EQ(summary.steps, 0);
}

// --- trees -----------------------------------------------------------------------------------------------------------

// Flat routers, which the tests above compare with the equations, put together by hand: one of the root, one a group.
struct TreeTest : testing::TestWithParam<Rule> {};
INSTANTIATE_TEST_SUITE_P(EveryRule, TreeTest,
                         testing::Values(Rule::top_k, Rule::top_p, Rule::threshold, Rule::switch_top1), name_of_rule);

TEST_P(TreeTest, IsTheProductOfTheRoutersOnThePath) {
  constexpr int64_t rows = 9, in = 3, groups = 2, leaves = 4;
  const RoutingSpec spec{.rule = GetParam(), .levels = {groups, leaves}, .top_k = 1, .capacity = 9, .noise = 0};
  ExpertRouter tree = router_of(spec, in);
  std::map<std::string, Tensor> whole;
  tree.visit_parameters([&](const std::string& name, Tensor& value) { whole[name] = value; });
  const auto flat = [&](int64_t level, int64_t first, int64_t count) {
    RoutingSpec own = spec;
    own.levels = {count};
    std::map<std::string, Tensor> given{{"router.weight", contiguous(slice(whole["router.weight"], 0, first, count))}};
    for (const char* name : {"router.threshold_weight", "router.threshold_bias"})
      if (whole[name].defined()) given[name] = contiguous(slice(whole[name], 0, level, 1));
    return router_of(own, in, given);
  };
  const Tensor x = Tensor::from(random_row(rows * in), {rows, in});
  RoutedLayers routed;
  Context context;
  context.routed = &routed;
  const Routes routes = tree.route(x, context, 1), root = flat(0, 0, groups).route(x, context, 2);
  Tensors expected{root.gates};
  for (int64_t g = 0; g < groups; ++g) {
    const Routes own = flat(1, groups + g * leaves, leaves).route(x, context, 3);
    expected.push_back(own.gates * slice(root.gates, 1, g, 1));
  }
  const Tensor all = contiguous(concat(expected, 1));
  expect_near(routes.gates, Row(all.values<double>().begin(), all.values<double>().end()), 1e-12, "gates");
  ASSERT_EQ(routed.at(1).slots.size(), 2U);
  for (int64_t n = 0; n < rows; ++n)
    for (int64_t g = 0; g < groups; ++g)
      for (int64_t leaf = 0; leaf < leaves; ++leaf) {
        const double* chosen = routes.chosen.data<double>() + n * tree.spec().experts();
        EXPECT_LE(chosen[groups + g * leaves + leaf], chosen[g]) << "a leaf outside its group";
      }
}

// A root of two equal halves whose leaves are equal has all losses by hand.
TEST(ExpertRouter, EachLevelOfATreeHasItsBalance) {
  const RoutingSpec spec{.levels = {2, 2}, .top_k = 1, .balance = 1, .z_loss = 0};
  const ExpertRouter router = router_of(spec, 1, {{"router.weight", Tensor::zeros({6, 1}, DType::f64)}});
  Context context;
  context.training = true;
  router.route(tensor_of({{1}, {2}}), context, 1);
  ASSERT_EQ(context.losses.size(), 1U);
  EXPECT_NEAR(context.losses[0].item(), 1 + 1, 1e-12);  // P is even: n·Σ f/n = 1 whatever f, once a level
}

TEST(ExpertRouter, ATreeDifferentiatesToSecondOrder) {
  const RoutingSpec spec{.rule = Rule::top_p, .levels = {2, 3}, .top_p = 0.6, .entropy = 0.2};
  auto f = [&](std::span<const Tensor> given) -> Tensors {
    const ExpertRouter router(spec, 3, [&](const std::string&, const Shape&) { return given[1]; });
    Context context;
    context.training = true;
    const Routes routes = router.route(given[0], context, 1);
    return {routes.gates, context.losses[0]};
  };
  const Tensors inputs{Tensor::from(random_row(12), {4, 3}), Tensor::from(random_row(24), {8, 3})};
  EXPECT_EQ(check_grads(f, inputs), "");
}

}  // namespace
}  // namespace mora
