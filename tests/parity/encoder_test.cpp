// A classifier and a regression in training: losses against PEFT from the same state. MiniLM on movie reviews.
#include <cmath>

#include "parity/peft_run.h"

namespace mora {
namespace {

using test::minilm;

struct EncoderTest : test::PeftRun {
  // An adapter with the goldens' initial values (goldens/formula.h), as a directory to start from.
  std::string initial_adapter(const Targets& targets, Pooling pooling, int64_t outputs,
                              const std::vector<std::string>& labels) const {
    MoRAModel model(load_model(minilm));
    AdapterSpec spec;
    spec.kind = AdapterSpec::Kind::lora;
    model.add_adapters(spec, targets, 0);
    model.set_head(pooling, Classifier::fresh(outputs, 384, 0));
    model.visit_parameters([](const std::string& name, Tensor& value) {
      const bool a = name.ends_with("lora_A"), head = name == "classifier.weight";
      const double bound = a ? 1 / std::sqrt(double(value.dim(1))) : head ? 0.03 : 0;
      const std::string key = "base_model.model." + name + (head ? "" : ".weight");
      test::set_by_formula(value, key, bound);
    });
    return test::saved(directory / "initial", model,
                       {.base_model = minilm, .task = "", .pooling = std::string(name_of(pooling)), .labels = labels})
        .string();
  }

  void expect_losses_of_peft(const std::string& name, const Config& c) {
    const nlohmann::json golden = read_json(test::source / "tests/goldens/peft_minilm.json")[name];
    train(c, {.quiet = true});
    const auto lines = metrics("run");
    ASSERT_EQ(lines.size(), golden["losses"].size());
    expect_curves(lines, golden);
    for (size_t i = 0; i < lines.size(); ++i)
      EXPECT_NEAR(lines[i]["lr"].get<double>(), golden["lrs"][i].get<double>(), 1e-12) << "update " << i;
  }
};

TEST_F(EncoderTest, FiftyLossesOfMeanPooledLoRAAgreeWithPeft) {
  const std::string from = initial_adapter("all-linear", Pooling::mean, 2, {"negative", "positive"});
  expect_losses_of_peft(
      "mean", config("run", "adapter: {kind: lora, init_from: " + from +
                                "}\noptimizer: {lr: 1e-3}\nschedule: {kind: linear, warmup: 5}\n"
                                "train: {steps: 50, epochs: null, clip: 1.0, eval_every: null, save_every: null}\n"));
}

TEST_F(EncoderTest, FiftyLossesOfPooledLoRAAgreeWithPeft) {
  const std::string from =
      initial_adapter(R"(bert\.(encoder|pooler)\..*)", Pooling::pooler, 2, {"negative", "positive"});
  expect_losses_of_peft(
      "pooler",
      config("run", "adapter: {kind: lora, init_from: " + from +
                        "}\noptimizer: {lr: 2e-4}\nschedule: {kind: constant}\n"
                        "train: {steps: 50, epochs: null, clip: null, eval_every: null, save_every: null}\n"));
}

TEST_F(EncoderTest, RegressionLossesAgreeWithPeft) {
  const std::string from = initial_adapter(R"(bert\.(encoder|pooler)\..*)", Pooling::pooler, 1, {});
  Config c = config("run", "task: regression\nadapter: {kind: lora, init_from: " + from +
                               "}\noptimizer: {lr: 2e-4}\nschedule: {kind: constant}\n"
                               "train: {steps: 10, epochs: null, clip: null, eval_every: null, save_every: null}\n");
  c.data->label = "rating";
  expect_losses_of_peft("regression", c);
}

}  // namespace
}  // namespace mora
