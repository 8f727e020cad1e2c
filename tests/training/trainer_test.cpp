// The trainer on real data: sixteen bits against f32, resume to the bit, adapters through their files.
#include <cmath>
#include <functional>

#include "mora/training/update_plan.h"
#include "training/trainer_fixture.h"

namespace mora {
namespace {

namespace fs = std::filesystem;
using test::minilm;

using TrainerTest = test::TrainerFixture;

TEST_F(TrainerTest, SixteenBitsFollowF32) {  // means over ten updates, within 2 %
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
  const auto expected = losses("f32");
  for (const char* precision : {"bf16", "f16"}) {
    const auto found = losses(precision);
    for (size_t i = 0; i < expected.size(); ++i)
      EXPECT_NEAR(found[i] / expected[i], 1, 0.02) << precision << ", updates from " << 10 * i;
  }
  EXPECT_EQ(metrics("f16").back()["loss_scale"], 65536.0);
  EXPECT_LT(expected.back(), 0.65);  // it did learn
}

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
  const fs::path newest = directory / "run" / "checkpoints" / "step-000004" / "adapter.safetensors";
  std::string bytes = test::read_bytes(newest);
  bytes[bytes.size() / 2] = char(bytes[bytes.size() / 2] ^ 1);
  std::ofstream(newest, std::ios::binary) << bytes;
  train(c, {.resume = true, .quiet = true});
  EXPECT_EQ(adapter_bytes(directory / "run"), expected);
  EXPECT_TRUE(fs::exists(directory / "run/checkpoints/step-000004.damaged"));
  EXPECT_TRUE(fs::exists(directory / "run/checkpoints/step-000004"));
}

TEST_F(TrainerTest, AnotherConfigurationCannotResume) {
  const std::string settings = "train: {steps: 1, epochs: null, batch_size: 2, eval_every: null}\n";
  const Config c = config("run", settings);
  train(c, {.quiet = true});
  const std::function<void(Config&)> changes[] = {
      [](Config& other) { other.optimizer.lr = 1; },
      [](Config& other) { other.optimizer.kind = "sgd"; },
      [](Config& other) { other.train.precision = Precision::bf16; },
      [](Config& other) { other.data->train = {(test::source / ".cache/data/reviews.valid.tsv").string()}; },
  };
  for (const auto& change : changes) {
    Config other = c;
    change(other);
    EXPECT_EQ(test::error_of<ConfigError>([&] { train(other, {.resume = true, .quiet = true}); }),
              fmt::format("{0}: the configuration is not the one the run was started with ({0}/config.yaml); resume "
                          "with the same",
                          (directory / "run").string()));
  }
}

TEST_F(TrainerTest, OtherRowsUnderTheSameNameCannotResume) {
  const std::string rows = "text\tlabel\na good film\t1\na bad film\t0\n";
  Config c = config("run", "train: {steps: 1, epochs: null, batch_size: 2, eval_every: null}\n");
  c.data->train = {directory.write("rows.tsv", rows)};
  train(c, {.quiet = true});
  EXPECT_NO_THROW(train(c, {.resume = true, .quiet = true}));
  directory.write("rows.tsv", rows + "another one\t1\n");
  EXPECT_EQ(test::error_of<ConfigError>([&] { train(c, {.resume = true, .quiet = true}); }),
            (directory / "run").string() +
                ": the training rows are not those the run was started with; resume with the same data");
}

TEST_F(TrainerTest, AnAdapterSurvivesBothFormats) {
  for (const char* kind : {"lora", "mora", "dora", "adalora"}) {
    MoRAModel model(load_model(minilm));
    AdapterSpec spec;
    spec.kind = parse_adapter_kind(kind);
    spec.op = kernels::OperatorKind::group_sharing;
    model.train_whole({"pooler.dense"});
    model.add_adapters(spec, std::vector<std::string>{"query", "output.dense"}, 0);
    model.set_head(Pooling::pooler, Classifier::fresh(2, 384, 3));
    model.visit_parameters([](const std::string& name, Tensor& value) { test::set_by_formula(value, name, 0.05); });
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

TEST_F(TrainerTest, PatternsAndModulesTrainedWholeGoWhereTheyMatch) {
  Config c = config("run",
                    "adapter: {kind: lora, rank: 4, alpha: 8, rank_pattern: {query: 2}, alpha_pattern: "
                    "{'layer.[01].*query': 1}, modules_to_save: [classifier, layer.3.output.dense]}\n"
                    "train: {steps: 1, epochs: null, batch_size: 2, eval_every: null, save_every: null}\n");
  train(c, {.quiet = true});
  MoRAModel model(load_model(minilm));
  load_adapter(directory / "run/adapter", model);
  for (const auto& [path, linear] : model.adapted()) {
    const bool query = path.ends_with("query"),
               early = path.find("layer.0.") < path.size() || path.find("layer.1.") < path.size();
    const bool whole = path.ends_with("layer.3.output.dense");
    const AdapterSpec& spec = linear->layer().spec();
    EXPECT_EQ(spec.kind, whole ? AdapterSpec::Kind::whole : AdapterSpec::Kind::lora) << path;
    if (whole) continue;
    EXPECT_EQ(linear->layer().rank(), query ? 2 : 4) << path;
    EXPECT_EQ(spec.alpha, query && early ? 1 : 8) << path;
  }
  EXPECT_EQ(test::error_of<ConfigError>([&] {
              model.remove_adapters(), model.add_adapters({}, "all-linear", 0, {{{"qeury", 2}}, {}});
            }),
            "adapter.rank_pattern: 'qeury' matches no adapted module");
}

TEST_F(TrainerTest, ATargetThatMatchesNothingNamesTheNearest) {
  MoRAModel model(load_model(minilm));
  EXPECT_EQ(test::error_of<ConfigError>([&] { model.add_adapters({}, std::vector<std::string>{"qeury"}, 0); }),
            "adapter.targets: 'qeury' matches no linear or embedding of this bert model; did you mean 'query'?");
}

TEST_F(TrainerTest, EpochsOfTokenBatchesAreWhole) {
  std::vector<int32_t> lengths;
  for (int i = 0; i < 300; ++i) lengths.push_back(1 + i * 37 % 61);
  const Config c = config("none", "train: {epochs: 2.5, batch_tokens: 200, accumulate: 2}\n");
  std::vector<double> updates;
  for (uint64_t epoch = 0; epoch < 3; ++epoch)
    updates.push_back(double(updates_per_epoch(c.train, epoch_plan(c, lengths, epoch))));
  EXPECT_EQ(total_updates(c, lengths), int64_t(std::ceil(updates[0] + updates[1] + updates[2] / 2)));
}

}  // namespace
}  // namespace mora
