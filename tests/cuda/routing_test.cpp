#include "kernels/routing.h"

#include <algorithm>
#include <cmath>

#include "autograd/grad.h"
#include "autograd/ops/all.h"
#include "cuda/twin.h"
#include "engine/graph.h"
#include "mora/experts/dispatch.h"
#include "mora/experts/routed_layer.h"

namespace mora::test {
namespace {

// Probabilities of which some are equal and some NaN; margins of which some rows have none above 0; rows not reached.
Tensors inputs(int64_t rows, int64_t experts, DType dtype) {
  Values p = normal_values(rows * experts, 1), margin = normal_values(rows * experts, 2), reached;
  for (size_t i = 0; i < p.size(); ++i) {
    p[i] = i % 7 == 3 ? NAN : std::round(std::abs(p[i]) * 4) / 16;
    const int64_t row = int64_t(i) / experts;
    margin[i] = row % 3 == 0 ? -std::abs(margin[i]) : i % 5 == 0 ? 0 : margin[i];
  }
  for (int64_t row = 0; row < rows; ++row) reached.push_back(double(row % 4 != 1));
  return {tensor_of(p, {rows, experts}, dtype), tensor_of(margin, {rows, experts}, dtype),
          tensor_of(reached, {rows}, dtype), unwritten({rows, experts}, dtype)};
}

TEST(SimtRouting, ChoosesAsTheProcessor) {
  const kernels::ExpertChoice choices[] = {{.top_k = 1}, {.top_k = 2}, {.top_p = 0.4}, {.top_k = 1, .at_zero = true}};
  for (const DType dtype : {DType::f32, DType::f64})
    for (const auto& [rows, experts] : {std::pair<int64_t, int64_t>{0, 3}, {1, 1}, {9, 2}, {300, 8}})
      for (const kernels::ExpertChoice& choice : choices)
        for (const bool by_margin : {false, true}) {
          Tensors all = inputs(rows, experts, dtype);
          if (!by_margin) all[1] = all[2] = Tensor();
          expect_twins(all, 0, [&](Tensors& t) { kernels::choose_experts(t[0], t[1], t[2], t[3], choice); });
        }
}

// A graph takes no copy from or to the processor, so what can be recorded waits for nothing.
TEST(ExpertsOnDevice, AreChosenThere) {
  using Rule = RoutingSpec::Rule;
  const Tensor x = tensor_of(normal_values(9 * 12, 1), {9, 12}, DType::f32).to(device);
  const Tensor seed = Tensor::from(std::vector<float>{1}, {}).to(device);
  for (const Rule rule : {Rule::top_k, Rule::top_p, Rule::threshold}) {
    const RoutedSpec routed{.experts = RoutingSpec{.rule = rule, .levels = {2, 3}}};
    const auto layer = RoutedLayer::fresh({.kind = AdapterSpec::Kind::lora, .rank = 4}, routed, 12, 10, 1, 0);
    Tensors leaves, called, recorded;
    layer->visit_parameters([&](const std::string&, Tensor& value) {
      value = leaf(value.detach().to(device));
      leaves.push_back(value);
    });
    const auto gradients = [&] {
      Context context;
      context.training = true;
      const Tensor y = layer->update(x, context), total = sum(square(y + 1)) + context.losses.at(0);
      return grad(std::span(&total, 1), leaves, {}, std::span(&seed, 1));
    };
    called = gradients();
    Graph graph(make_ref<GraphPool>(device), [&] { recorded = gradients(); });
    graph.replay();
    for (size_t i = 0; i < leaves.size(); ++i) {
      const Tensor a = called[i].to(cpu), b = recorded[i].to(cpu);
      EXPECT_TRUE(std::ranges::equal(a.values<float>(), b.values<float>())) << name_of(rule) << i;
    }
  }
}

// The rows of each expert are counted on the processor.
TEST(ExpertsOnDevice, GroupedAsOnTheProcessor) {
  constexpr int64_t rows = 9, in = 12, out = 10, experts = 3, rank = 4;
  Values marks;
  for (int64_t i = 0; i < rows * experts; ++i) marks.push_back(double(i % 2 == 0 || i % 5 == 0));
  const auto numbers = [](const Shape& shape, uint64_t seed) {
    return tensor_of(normal_values(shape.numel(), seed), shape, DType::f32);
  };
  const Tensor chosen = tensor_of(marks, {rows, experts}, DType::f32);
  expect_twins({numbers({rows, in}, 1), chosen, numbers({experts * rank, in}, 2), numbers({experts * rank, out}, 3)},
               tolerance(DType::f32), [&](Tensors& t) {
                 t.push_back(dispatch(Dispatch::grouped, t[0], {t[1], t[1]}, LowRankExperts{t[2], t[3], experts, 2}));
               });
}

}  // namespace
}  // namespace mora::test
