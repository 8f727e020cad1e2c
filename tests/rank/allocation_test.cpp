// Budgets, scores and allocations, against PEFT's RankAllocator (goldens/write_rank_goldens.py) and by hand.
#include "mora/rank/allocation.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "goldens/formula.h"
#include "loaders/json.h"
#include "mora/adapters/adalora.h"
#include "mora/adapters/mora.h"
#include "mora/rank/budget.h"
#include "mora/rank/importance.h"

namespace mora {
namespace {

using Scores = std::vector<std::vector<double>>;

// Of layers of one size.
std::vector<LayerAllocation> allocate(const Scores& scores, int64_t budget, const AllocationLimits& limits) {
  return mora::allocate(scores, std::vector<int64_t>(scores.size(), 1), budget, limits);
}

nlohmann::json golden() { return read_json(MORA_SOURCE_DIR "/tests/goldens/peft_ranks.json"); }

Tensor by_formula(const std::string& key, const Shape& shape) {
  Tensor t = Tensor::empty(shape);
  float* values = t.mutable_data<float>();
  for (int64_t i = 0; i < t.numel(); ++i) values[i] = float(goldens::formula_value(key, uint64_t(i), 1));
  return t;
}

TEST(Budget, IsPeftsBetweenItsEnds) {
  const nlohmann::json expected = golden();
  const BudgetSchedule schedule{.initial = 24, .final = 8, .start = 5, .end = 30, .interval = 4};
  std::vector<int64_t> events;
  for (int64_t t = 0; t <= 40; ++t) {
    EXPECT_EQ(schedule.at(t), expected["budgets"][size_t(t)].get<int64_t>()) << t;
    if (schedule.is_event(t)) events.push_back(t);
  }
  EXPECT_EQ(events,
            (std::vector<int64_t>{8, 12, 16, 20, 24, 28, 30}));  // PEFT's, then force_mask; it masks on after that
}

TEST(Importance, SensitivityKeepsWhatPeftKeeps) {
  const nlohmann::json kept = golden()["kept"];
  std::vector<std::unique_ptr<AdaLoRA>> adapters;
  std::vector<Parameter> parameters;
  std::vector<LayerParameters> layers;
  for (const auto& [module, pattern] : kept.items()) {
    const std::string key = "base_model.model." + module;
    adapters.push_back(std::make_unique<AdaLoRA>(
        AdapterSpec{.kind = AdapterSpec::Kind::adalora, .rank = 6}, by_formula(key + ".lora_A", {6, 16}),
        by_formula(key + ".lora_B", {16, 6}), by_formula(key + ".lora_E", {6, 1}), 1));
    layers.push_back({adapters.back().get(), {}});
    adapters.back()->visit_parameters([&](const std::string& name, Tensor& value) {
      layers.back().indices.push_back(parameters.size());
      parameters.push_back({.name = key + "." + name, .value = value});
    });
  }
  Importance importance(ImportanceKind::sensitivity, parameters, layers);
  Tensors gradients;
  for (int t = 1; t <= 8; ++t) {
    gradients.clear();
    for (const Parameter& p : parameters)
      gradients.push_back(by_formula(p.name + " " + std::to_string(t), p.value.shape()));
    importance.observe(parameters, gradients);
  }
  Scores scores;
  for (const LayerParameters& layer : layers) scores.push_back(importance.scores(layer, parameters, gradients));
  const auto allocations = allocate(scores, 11, {.least = 0, .most = 6});
  size_t l = 0;
  for (const auto& [module, pattern] : kept.items()) {
    std::vector<int64_t> expected;
    for (size_t i = 0; i < pattern.size(); ++i)
      if (pattern[i].get<bool>()) expected.push_back(int64_t(i));
    EXPECT_EQ(allocations[l++].kept, expected) << module;
  }
}

TEST(Importance, NormIsThatOfTheComponentsUpdate) {
  AdaLoRA adapter({.kind = AdapterSpec::Kind::adalora, .rank = 2}, Tensor::from(std::vector<float>{3, 4, 0, 1}, {2, 2}),
                  Tensor::from(std::vector<float>{1, 0, 0, 2}, {2, 2}),
                  Tensor::from(std::vector<float>{-2, 0.5}, {2, 1}), 1);
  std::vector<Parameter> parameters;
  adapter.visit_parameters(
      [&](const std::string& name, Tensor& t) { parameters.push_back({.name = "m." + name, .value = t}); });
  const LayerParameters place{&adapter, {0, 1, 2}};
  const Importance importance(ImportanceKind::norm, parameters, {&place, 1});
  EXPECT_EQ(importance.scores(place, parameters, Tensors(3)), (std::vector<double>{10, 1}));
}

TEST(Allocation, TakesTheBestWithinTheLimits) {
  const Scores scores = {{5, 1, 4}, {3, 0.5, 2}};
  auto kept = [&](int64_t budget, AllocationLimits limits) {
    std::vector<std::vector<int64_t>> list;
    for (const LayerAllocation& a : allocate(scores, budget, limits)) {
      EXPECT_EQ(a.added, 0);
      list.push_back(a.kept);
    }
    return list;
  };
  using Kept = std::vector<std::vector<int64_t>>;
  EXPECT_EQ(kept(3, {0, 3}), (Kept{{0, 2}, {0}}));
  EXPECT_EQ(kept(4, {0, 3}), (Kept{{0, 2}, {0, 2}}));
  EXPECT_EQ(kept(1, {0, 3}), (Kept{{0}, {}}));
  EXPECT_EQ(kept(1, {1, 3}), (Kept{{0}, {0}}));  // the least of each is above the budget
  EXPECT_EQ(kept(5, {1, 2}), (Kept{{0, 2}, {0, 2}}));
}

// The budget is of parameters: the best component is too wide for what is left, and the next of a narrow layer comes.
TEST(Allocation, AWideLayersComponentsCostMore) {
  const Scores scores = {{5, 4}, {3, 2, 1}};
  const std::vector<int64_t> sizes = {10, 4};
  const auto ranks = [&](int64_t budget) {
    const auto allocations = mora::allocate(scores, sizes, budget, {.least = 0, .most = {}});
    return std::vector<int64_t>{allocations[0].rank(), allocations[1].rank()};
  };
  EXPECT_EQ(ranks(32), (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(ranks(24), (std::vector<int64_t>{2, 1}));
  EXPECT_EQ(ranks(19), (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(ranks(9), (std::vector<int64_t>{0, 2}));
}

TEST(Allocation, WithoutALargestRankLayersOnlyShrink) {
  const Scores scores = {{9, 8}, {4, 1}};
  const auto shrunk = allocate(scores, 8, {.least = 3, .most = {}});
  for (const LayerAllocation& a : shrunk) EXPECT_EQ(a.rank(), 2);
  EXPECT_EQ(allocate(scores, 3, {.least = 1, .most = {}})[1].kept, (std::vector<int64_t>{0}));
}

TEST(Allocation, ALayerWhoseWeakestComponentIsStrongGrows) {
  const Scores scores = {{9, 8}, {4, 1}};
  const auto grown = allocate(scores, 6, {.least = 1, .most = 4});
  EXPECT_EQ(grown[0].kept.size(), 2U);
  EXPECT_EQ(grown[0].added, 2);  // 8·2/3 and 8·2/4 are above 1
  EXPECT_EQ(grown[1].rank(), 2);
  const auto moved = allocate(scores, 4, {.least = 1, .most = 4});  // the budget stays, the rank moves
  EXPECT_EQ(moved[0].added, 1);
  EXPECT_EQ(moved[1].kept, (std::vector<int64_t>{0}));
}

TEST(Allocation, AlikeComponentsShareByDHondt) {  // 7 seats for 340, 280, 160, 60 votes: 3, 3, 1, 0
  Scores scores;
  for (double votes : {340.0, 280.0, 160.0, 60.0}) scores.push_back({votes});
  const auto seats = allocate(scores, 7, {.least = 0, .most = 7});
  std::vector<int64_t> ranks;
  for (const LayerAllocation& a : seats) ranks.push_back(a.rank());
  EXPECT_EQ(ranks, (std::vector<int64_t>{3, 3, 1, 0}));
}

}  // namespace
}  // namespace mora
