// Adapters added by weight: the update of the sum is the sum of the updates.
#include "mora/combine.h"

#include <gtest/gtest.h>

#include "adapters/adapted_model.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/shape.h"
#include "loaders/temporary_directory.h"
#include "mora/adapters/mora.h"

namespace mora {
namespace {

using kernels::OperatorKind;
using test::error_of;
using Kind = AdapterSpec::Kind;

struct CombineTest : ::testing::Test {
  test::TemporaryDirectory directory;
  std::filesystem::path bert = test::golden_models / "bert";

  // A saved adapter that does something.
  WeightedAdapter adapter(const std::string& name, const AdapterSpec& spec, double weight,
                          const Targets& targets = "all-linear") {
    MoRAModel model(load_model(bert));
    model.add_adapters(spec, targets, 1);
    test::randomize(model);
    test::saved(directory / name, model, {.base_model = "", .task = "classification", .pooling = "", .labels = {}});
    return {directory / name, weight};
  }
  MoRAModel combined(const std::vector<WeightedAdapter>& adapters) {
    MoRAModel model(load_model(bert));
    combine_adapters(model, adapters);
    return model;
  }
  // The largest difference of any linear's update from the sum by weight.
  double error(MoRAModel& sum, const std::vector<WeightedAdapter>& adapters) {
    std::map<std::string, Tensor> expected;
    for (const WeightedAdapter& part : adapters) {
      MoRAModel model(load_model(bert));
      load_adapter(part.directory, model);
      for (const auto& [path, linear] : model.adapted()) {
        const Tensor update = linear->layer().merged() * part.weight;
        expected[path] = expected.contains(path) ? expected[path] + update : update;
      }
    }
    EXPECT_EQ(expected.size(), sum.adapted().size());
    double most = 0;
    for (const auto& [path, linear] : sum.adapted()) {
      const Tensor difference = contiguous(linear->layer().merged() - expected.at(path));
      for (double v : difference.values<double>()) most = std::max(most, std::abs(v));
    }
    return most;
  }
};

TEST_F(CombineTest, TheUpdateIsTheSumOfTheUpdates) {
  const WeightedAdapter lora = adapter("lora", {.kind = Kind::lora, .rank = 3}, 0.7),
                        part =
                            adapter("part", {.kind = Kind::lora, .rank = 2}, -0.5, std::vector<std::string>{"query"}),
                        adalora = adapter("adalora", {.kind = Kind::adalora, .rank = 2}, 1.5),
                        pissa =
                            adapter("pissa", {.kind = Kind::lora, .rank = 2, .init = AdapterSpec::Init::pissa}, 0.3),
                        sharing = adapter("sharing", {.rank = 2, .op = OperatorKind::sharing}, 2),
                        rotation = adapter("rotation", {.rank = 2}, 0.25), wider = adapter("wider", {.rank = 3}, 1);
  for (const std::vector<WeightedAdapter>& adapters : {std::vector<WeightedAdapter>{lora},
                                                       {lora, part},
                                                       {lora, adalora, pissa, sharing},
                                                       {sharing, rotation},
                                                       {rotation, wider, rotation}}) {
    MoRAModel sum = combined(adapters);
    EXPECT_LT(error(sum, adapters), 1e-5);
    MoRAModel again(load_model(bert));  // it is an adapter as any other
    test::saved(directory / "sum", sum, {});
    load_adapter(directory / "sum", again);
    EXPECT_LT(error(again, adapters), 1e-5);
    std::filesystem::remove_all(directory / "sum");
  }
}

TEST_F(CombineTest, AsSmallAsItCanBe) {
  const WeightedAdapter lora = adapter("lora", {.kind = Kind::lora, .rank = 3}, 1),
                        rotation = adapter("rotation", {.rank = 2}, 1), wider = adapter("wider", {.rank = 3}, 1);
  const auto layer = [](const MoRAModel& model) { return &model.adapted().begin()->second->layer(); };
  EXPECT_EQ(layer(combined({lora, lora}))->rank(), 6);
  MoRAModel one_operator = combined({rotation, rotation}), two_sides = combined({rotation, wider, rotation});
  EXPECT_TRUE(dynamic_cast<const MoRA&>(*layer(one_operator)).history().empty());
  EXPECT_EQ(dynamic_cast<const MoRA&>(*layer(two_sides)).history().size(), 1u);
}

TEST_F(CombineTest, WhatDoesNotAddUpIsRefused) {
  const WeightedAdapter lora = adapter("lora", {.kind = Kind::lora, .rank = 2}, 1),
                        rotation = adapter("rotation", {.rank = 2}, 1),
                        dora = adapter("dora", {.kind = Kind::dora, .rank = 2}, 1);
  EXPECT_NE(error_of<ConfigError>([&] {
              combined({lora, rotation});
            }).find("rotation is not a low-rank update"),
            std::string::npos);
  EXPECT_NE(error_of<ConfigError>([&] { combined({lora, dora}); }), "");
  MoRAModel other(load_model(bert));
  other.add_adapters({.kind = Kind::lora}, "all-linear", 1);
  test::saved(directory / "text", other, {.base_model = "", .task = "causal_lm", .pooling = "", .labels = {}});
  EXPECT_NE(error_of<ConfigError>([&] {
              combined({lora, {directory / "text", 1}});
            }).find("do not add up"),
            std::string::npos);
}

TEST_F(CombineTest, ClassifiersBecomeTheirMean) {
  std::vector<WeightedAdapter> adapters;
  for (float value : {1.f, 4.f}) {
    MoRAModel model(load_model(bert));
    model.add_adapters({.kind = Kind::lora, .rank = 2}, "all-linear", 1);
    Classifier head = Classifier::fresh(2, model.base().config().hidden_size, 1);
    std::ranges::fill(std::span(head.weight.mutable_data<float>(), size_t(head.weight.numel())), value);
    model.set_head(Pooling::mean, head);
    const std::string name = "head" + std::to_string(int(value));
    test::saved(directory / name, model,
                {.base_model = "", .task = "classification", .pooling = "mean", .labels = {"no", "yes"}});
    adapters.push_back({directory / name, value == 1.f ? 1.0 : 2.0});
  }
  MoRAModel sum = combined(adapters);
  ASSERT_TRUE(sum.classifier());
  EXPECT_FLOAT_EQ(sum.classifier()->weight.data<float>()[0], 3.f);  // (1·1 + 2·4)/3
  adapters[1].weight = -1;
  EXPECT_NE(error_of<ConfigError>([&] { combined(adapters); }).find("add up to 0"), std::string::npos);
}

}  // namespace
}  // namespace mora
