// The trainer on real data: losses against PEFT, resume to the bit, adapters through their files.
#include "mora/training/trainer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "goldens/formula.h"
#include "loaders/json.h"
#include "loaders/temporary_directory.h"
#include "mora/adapter_directory.h"
#include "mora/models/registry.h"

namespace mora {
namespace {

namespace fs = std::filesystem;
const fs::path source = MORA_SOURCE_DIR;
const std::string minilm = (source / ".cache/models/minilm").string();
const std::string reviews = (source / ".cache/data/reviews.train.tsv").string();

struct TrainerTest : ::testing::Test {
  static void SetUpTestSuite() { ASSERT_TRUE(fs::exists(minilm) && fs::exists(reviews)) << "run tools/fetch.sh first"; }
  test::TemporaryDirectory directory;

  std::vector<nlohmann::json> metrics(const std::string& run) const {
    std::ifstream lines(directory / run / "metrics.jsonl");
    std::vector<nlohmann::json> result;
    for (std::string line; std::getline(lines, line);) result.push_back(nlohmann::json::parse(line));
    return result;
  }

  Config config(const std::string& run, const std::string& more) const {
    return parse_config("model: " + minilm + "\ndata: {train: " + reviews +
                            ", shuffle: false, label: label}\nout: " + (directory / run).string() + "\n" + more,
                        "test.yaml");
  }

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
      float* values = value.mutable_data<float>();
      for (int64_t i = 0; i < value.numel(); ++i) values[i] = float(goldens::formula_value(key, uint64_t(i), bound));
    });
    const fs::path path = directory / "initial";
    fs::create_directory(path);
    save_adapter(path, model,
                 {.base_model = minilm, .task = "", .pooling = std::string(name_of(pooling)), .labels = labels});
    return path.string();
  }

  void expect_losses_of_peft(const std::string& name, const Config& c) {
    const nlohmann::json golden = read_json(source / "tests/goldens/peft_minilm.json")[name];
    train(c, {.quiet = true});
    const auto lines = metrics("run");
    ASSERT_EQ(lines.size(), golden["losses"].size());
    for (size_t i = 0; i < lines.size(); ++i) {
      EXPECT_NEAR(lines[i]["loss"].get<double>() / golden["losses"][i].get<double>(), 1, 1e-3) << "update " << i;
      EXPECT_NEAR(lines[i]["grad_norm"].get<double>() / golden["grad_norms"][i].get<double>(), 1, 1e-2)
          << "update " << i;
      EXPECT_NEAR(lines[i]["lr"].get<double>(), golden["lrs"][i].get<double>(), 1e-12) << "update " << i;
    }
  }
};

TEST_F(TrainerTest, FiftyLossesOfMeanPooledLoRAAgreeWithPeft) {
  const std::string from = initial_adapter("all-linear", Pooling::mean, 2, {"negative", "positive"});
  expect_losses_of_peft(
      "mean", config("run", "adapter: {kind: lora, init_from: " + from +
                                "}\noptimizer: {lr: 1e-3}\nschedule: {kind: linear, warmup: 5}\n"
                                "train: {steps: 50, epochs: null, clip: 1.0, eval_every: null, save_every: null}\n"));
}

TEST_F(TrainerTest, FiftyLossesOfPooledLoRAAgreeWithPeft) {
  const std::string from = initial_adapter(".*", Pooling::pooler, 2, {"negative", "positive"});
  expect_losses_of_peft(
      "pooler",
      config("run", "adapter: {kind: lora, init_from: " + from +
                        "}\noptimizer: {lr: 2e-4}\nschedule: {kind: constant}\n"
                        "train: {steps: 50, epochs: null, clip: null, eval_every: null, save_every: null}\n"));
}

TEST_F(TrainerTest, RegressionLossesAgreeWithPeft) {
  const std::string from = initial_adapter(".*", Pooling::pooler, 1, {});
  Config c = config("run", "task: regression\nadapter: {kind: lora, init_from: " + from +
                               "}\noptimizer: {lr: 2e-4}\nschedule: {kind: constant}\n"
                               "train: {steps: 10, epochs: null, clip: null, eval_every: null, save_every: null}\n");
  c.data->label = "rating";
  expect_losses_of_peft("regression", c);
}

TEST_F(TrainerTest, Bf16FollowsF32) {  // means over ten updates, within 2 %
  auto losses = [&](const std::string& precision) {
    train(config(precision,
                 "adapter: {kind: lora}\noptimizer: {lr: 5e-4}\nschedule: {kind: constant}\ntrain: {steps: 40, epochs: "
                 "null, precision: " +
                     precision + ", eval_every: null, save_every: null}\n"),
          {.quiet = true});
    std::vector<double> means(4);
    const auto lines = metrics(precision);
    for (size_t i = 0; i < 40; ++i) means[i / 10] += lines[i]["loss"].get<double>() / 10;
    return means;
  };
  const auto expected = losses("f32"), found = losses("bf16");
  for (size_t i = 0; i < expected.size(); ++i)
    EXPECT_NEAR(found[i] / expected[i], 1, 0.02) << "updates from " << 10 * i;
  EXPECT_LT(expected.back(), 0.65);  // it did learn
}

std::string adapter_bytes(const fs::path& run) { return test::read_bytes(run / "adapter" / "adapter.safetensors"); }

TEST_F(TrainerTest, AResumedRunIsTheUninterruptedRunToTheBit) {
  const std::string settings =
      "adapter: {kind: mora, rank: 4, operator: rotation, dropout: 0.1}\n"
      "train: {steps: 9, epochs: null, batch_size: 4, accumulate: 2, eval_every: null, save_every: 3}\n";
  Config whole = config("whole", settings), parts = config("parts", settings);
  whole.data->shuffle = parts.data->shuffle = true;
  train(whole, {.quiet = true});

  std::atomic<int> signal{SIGTERM};  // ends the run after its first update
  EXPECT_EQ(train(parts, {.quiet = true, .signal = &signal}).stopped_by, SIGTERM);
  for (int step : {1, 4, 5, 6}) {
    std::atomic<int> again{step < 6 ? SIGTERM : 0};
    train(parts, {.resume = true, .quiet = true, .signal = &again});
  }
  EXPECT_EQ(adapter_bytes(directory / "parts"), adapter_bytes(directory / "whole"));
  const auto a = metrics("whole"), b = metrics("parts");
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i]["step"], b[i]["step"]);
    EXPECT_EQ(a[i]["loss"], b[i]["loss"]) << i;
    EXPECT_EQ(a[i]["grad_norm"], b[i]["grad_norm"]) << i;
    EXPECT_EQ(a[i]["tokens"], b[i]["tokens"]) << i;
  }
}

TEST_F(TrainerTest, ADamagedCheckpointGivesWayToTheOneBefore) {
  const std::string settings =
      "adapter: {kind: lora, rank: 2}\ntrain: {steps: 4, epochs: null, batch_size: 2, eval_every: null, save_every: "
      "2}\n";
  Config c = config("run", settings);
  train(c, {.quiet = true});
  const std::string expected = adapter_bytes(directory / "run");
  const fs::path newest = directory / "run" / "checkpoints" / "step-000004" / "parameters.safetensors";
  std::string bytes = test::read_bytes(newest);
  bytes[bytes.size() / 2] = char(bytes[bytes.size() / 2] ^ 1);
  std::ofstream(newest, std::ios::binary) << bytes;
  train(c, {.resume = true, .quiet = true});
  EXPECT_EQ(adapter_bytes(directory / "run"), expected);
}

TEST_F(TrainerTest, AnotherConfigurationCannotResume) {
  const std::string settings = "train: {steps: 1, epochs: null, batch_size: 2, eval_every: null}\n";
  Config c = config("run", settings);
  train(c, {.quiet = true});
  c.optimizer.lr = 1;
  EXPECT_THROW(train(c, {.resume = true, .quiet = true}), ConfigError);
}

TEST_F(TrainerTest, AnAdapterSurvivesBothFormats) {
  for (const char* kind : {"lora", "mora"}) {
    MoRAModel model(load_model(minilm));
    AdapterSpec spec;
    spec.kind = parse_adapter_kind(kind);
    spec.op = kernels::OperatorKind::group_sharing;
    model.add_adapters(spec, std::vector<std::string>{"query", "output.dense"}, 0);
    model.set_head(Pooling::pooler, Classifier::fresh(2, 384, 3));
    model.visit_parameters([](const std::string& name, Tensor& value) {
      float* values = value.mutable_data<float>();
      for (int64_t i = 0; i < value.numel(); ++i) values[i] = float(goldens::formula_value(name, uint64_t(i), 0.05));
    });
    const PackedBatch batch{.ids = {101, 2023, 2003, 102},
                            .positions = {0, 1, 2, 3},
                            .type_ids = {},
                            .offsets = {0, 4},
                            .labels = {},
                            .token_labels = {},
                            .targets = {},
                            .rows = {0}};
    Context context;
    const NoGrad no_grad;
    const Tensor expected = model.logits(to_sequences(batch), context);
    for (const char* format : {"native", "peft"}) {
      const fs::path path = directory / (std::string(kind) + format);
      fs::create_directory(path);
      const AdapterInfo info{.base_model = minilm, .task = "classification", .pooling = "pooler", .labels = {"a", "b"}};
      if (format == std::string("native"))
        save_adapter(path, model, info);
      else
        save_peft(path, model, info);
      MoRAModel loaded(load_model(minilm));
      load_adapter(path, loaded);
      const Tensor logits = loaded.logits(to_sequences(batch), context);
      for (int64_t i = 0; i < 2; ++i)
        EXPECT_NEAR(logits.data<float>()[i], expected.data<float>()[i], 1e-4) << kind << " " << format;
    }
  }
}

TEST_F(TrainerTest, WhatPeftCannotHoldIsRefusedWithTheReason) {
  MoRAModel model(load_model(minilm));
  model.add_adapters({}, "all-linear", 0);
  EXPECT_NE(test::error_of<ConfigError>([&] { save_peft(directory.path(), model, {}); }).find("merge it instead"),
            std::string::npos);
}

TEST_F(TrainerTest, ATargetThatMatchesNothingNamesTheNearest) {
  MoRAModel model(load_model(minilm));
  EXPECT_EQ(test::error_of<ConfigError>([&] { model.add_adapters({}, std::vector<std::string>{"qeury"}, 0); }),
            "adapter.targets: 'qeury' matches no linear of this bert model; did you mean 'query'?");
}

}  // namespace
}  // namespace mora
