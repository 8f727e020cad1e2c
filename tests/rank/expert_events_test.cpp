// DynMoE's experts: which go, which come, and what becomes of their moments.
#include "mora/rank/expert_events.h"

#include <gtest/gtest.h>

#include "mora/models/registry.h"

namespace mora {
namespace {

const std::filesystem::path bert = std::filesystem::path(MORA_SOURCE_DIR) / "tests/goldens/models/bert";

struct ExpertEvents : ::testing::TestWithParam<AdapterSpec::Kind> {
  MoRAModel model{load_model(bert)};
  std::optional<MoRAOptimizer> optimizer;

  void SetUp() override {
    const RoutingSpec routing{.rule = RoutingSpec::Rule::dynmoe, .levels = {3}};
    AdapterSpec spec{.kind = GetParam(), .rank = 2, .op = kernels::OperatorKind::sharing};
    model.add_adapters(spec, std::vector<std::string>{"0.attention.self.query"}, 1, {}, {.experts = routing});
    std::vector<Parameter> parameters;
    model.visit_parameters([&](const std::string& name, Tensor& value) { parameters.push_back({name, value}); });
    optimizer.emplace(parameters, MoRAOptimizerOptions{});
    Tensors gradients;
    for (const Parameter& p : parameters) {  // row i has the gradient i + 1, so moments tell rows apart
      Tensor g = Tensor::zeros(p.value.shape());
      const int64_t row = p.value.numel() / p.value.dim(0);
      for (int64_t i = 0; i < g.numel(); ++i) g.mutable_data<float>()[i] = float(1 + i / row);
      gradients.push_back(g);
    }
    optimizer->step(gradients, 1e-3, [](Tensors&) { return true; });
  }
  RoutedLayer& layer() { return dynamic_cast<RoutedLayer&>(model.adapted().begin()->second->layer()); }
  int64_t in() { return model.adapted().begin()->second->in(); }
  RoutedLayers routed(std::vector<int64_t> slots, std::vector<double> unrouted = {}) {
    return {{layer().index(),
             {.tokens = 9, .slots = {std::move(slots)}, .entropy = 0, .steps = 0, .unrouted = std::move(unrouted)}}};
  }
  std::map<std::string, std::vector<float>> moments() {
    std::map<std::string, std::vector<float>> found;
    for (const NamedTensor& t : optimizer->state())
      if (t.tensor.dtype() == DType::f32)
        found[t.name] = {t.tensor.values<float>().begin(), t.tensor.values<float>().end()};
    return found;
  }
};

TEST_P(ExpertEvents, UnusedOnesGoWithTheirMoments) {
  ExpertAllocator allocator(model, *optimizer, {.interval = 2, .most = 4});
  std::map<std::string, Tensor> before;
  layer().visit_parameters([&](const std::string& name, Tensor& value) { before[name] = value; });
  const auto old = moments();
  EXPECT_FALSE(allocator.after_update(1, routed({4, 0, 0})));
  const auto event = allocator.after_update(2, routed({1, 0, 8}));
  ASSERT_TRUE(event);
  EXPECT_EQ(event->kind, "experts");
  EXPECT_EQ(event->ranks.begin()->second, 2);
  EXPECT_EQ(layer().experts(), 2);
  const std::string path = model.adapted().begin()->first;
  const auto now = moments();
  layer().visit_parameters([&](const std::string& name, Tensor& value) {
    const Tensor& was = before.at(name);
    const int64_t third = was.numel() / 3;  // an expert's numbers
    ASSERT_EQ(value.numel(), 2 * third) << name;
    for (int64_t i = 0; i < third; ++i) {
      EXPECT_EQ(value.data<float>()[i], was.data<float>()[i]) << name;
      EXPECT_EQ(value.data<float>()[third + i], was.data<float>()[2 * third + i]) << name;
    }
    bool found = false;
    for (const auto& [key, values] : now) {
      if (!key.starts_with(path + "." + name + ".")) continue;
      found = true;
      ASSERT_EQ(std::ssize(values), 2 * third) << key;
      EXPECT_EQ(values[size_t(third)], old.at(key)[size_t(2 * third)]) << key;
    }
    EXPECT_TRUE(found) << name;
  });
}

TEST_P(ExpertEvents, OneComesWhereTokensFoundNone) {
  ExpertAllocator allocator(model, *optimizer, {.interval = 1, .most = 4});
  std::vector<double> unrouted(size_t(in()), 0);
  unrouted[0] = 3, unrouted[1] = -4;
  ASSERT_TRUE(allocator.after_update(1, routed({1, 1, 1}, unrouted)));
  EXPECT_EQ(layer().experts(), 4);
  layer().visit_parameters([&](const std::string& name, Tensor& value) {
    const float* added = value.data<float>() + value.numel() / 4 * 3;
    if (name == "router.weight") {
      EXPECT_FLOAT_EQ(added[0], 0.6F);
      EXPECT_FLOAT_EQ(added[1], -0.8F);
      EXPECT_EQ(added[2], 0);
    } else if (name == "lora_A") {
      EXPECT_NE(added[0], 0);
    } else {
      EXPECT_EQ(added[0], 0) << name;
    }
  });
  EXPECT_FALSE(allocator.after_update(2, routed({1, 1, 1, 1}, unrouted))) << "there are four already";
}

TEST_P(ExpertEvents, ItsStateIsWhatItHasSeen) {
  ExpertAllocator allocator(model, *optimizer, {.interval = 2, .most = 4}), resumed = allocator;
  allocator.after_update(1, routed({1, 0, 0}, std::vector<double>(size_t(in()), 0.5)));
  resumed.load_state(allocator.state());
  ASSERT_TRUE(resumed.after_update(2, routed({0, 1, 1})));
  EXPECT_EQ(layer().experts(), 4);  // none unused over both updates, and one more
  EXPECT_THROW(resumed.load_state(allocator.state()), IoError) << "what was seen is of three experts";
}

INSTANTIATE_TEST_SUITE_P(Kinds, ExpertEvents, ::testing::Values(AdapterSpec::Kind::lora, AdapterSpec::Kind::mora),
                         [](const auto& tested) { return std::string(name_of(tested.param)); });

}  // namespace
}  // namespace mora
