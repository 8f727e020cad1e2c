// Episodes, meta-training and adaptation on MiniLM and the review sets.
#include "mora/learning/meta_train.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <csignal>
#include <fstream>
#include <nlohmann/json.hpp>

#include "loaders/temporary_directory.h"
#include "mora/adapter_directory.h"
#include "mora/learning/few_shot.h"
#include "mora/models/registry.h"

namespace mora {
namespace {

namespace fs = std::filesystem;
const fs::path source = MORA_SOURCE_DIR;
const std::string minilm = (source / ".cache/models/minilm").string();
std::string data_file(const std::string& name) { return (source / ".cache/data" / name).string(); }

struct FewShot : ::testing::Test {
  static void SetUpTestSuite() { ASSERT_TRUE(fs::exists(minilm)) << "run tools/fetch.sh first"; }
  test::TemporaryDirectory directory;

  // The first rows of a file as a file of its own.
  std::string head_of(const std::string& name, int rows) const {
    std::ifstream in(data_file(name));
    std::string text;
    for (std::string line; rows-- >= 0 && std::getline(in, line);) text += line + "\n";
    return directory.write(name, text).string();
  }
  Config config(const std::string& run, const std::string& meta, const std::string& more = "") const {
    return parse_config(
        "model: " + minilm + "\ntasks: [{name: products, data: {train: " + head_of("products.train.tsv", 60) +
            "}}, {name: tweets, data: {train: " + head_of("tweets.train.tsv", 60) + "}}]\nmeta: " + meta +
            "\nadapter: {kind: lora, rank: 2, targets: [query, value]}\n"
            "train: {steps: 2, epochs: null}\nschedule: {kind: constant}\nout: " +
            (directory / run).string() + "\n" + more,
        "meta.yaml");
  }
  TaskData rows_of(const std::string& file) const {
    return TaskData(
        {.task = Task::classification, .files = {file}, .columns = {}, .labelled = true, .known_labels = {}}, minilm);
  }
};

TEST_F(FewShot, AnEpisodeIsAPureFunctionOfItsKey) {
  const FewShotTask task("products", rows_of(head_of("products.train.tsv", 80)), 3, 4);
  const auto one = task.episode({.seed = 1, .step = 5}, false), again = task.episode({.seed = 1, .step = 5}, false);
  EXPECT_EQ(one.support.ids, again.support.ids);
  EXPECT_EQ(one.query.ids, again.query.ids);
  EXPECT_NE(one.support.rows, task.episode({.seed = 1, .step = 6}, false).support.rows);
  EXPECT_EQ(one.support.labels, (std::vector<int32_t>{0, 0, 0, 1, 1, 1}));
  EXPECT_EQ(one.query.labels, (std::vector<int32_t>{0, 0, 0, 0, 1, 1, 1, 1}));
  for (int64_t row : one.support.rows) EXPECT_EQ(std::count(one.query.rows.begin(), one.query.rows.end(), row), 0);

  int turned = 0;
  for (uint64_t step = 0; step < 20; ++step) {
    const auto permuted = task.episode({.seed = 1, .step = step}, true);
    const bool turn = permuted.support.labels[0] == 1;
    turned += turn;
    EXPECT_EQ(permuted.support.labels.back(), turn ? 0 : 1);
    EXPECT_EQ(permuted.query.labels, (turn ? std::vector<int32_t>{1, 1, 1, 1, 0, 0, 0, 0} : one.query.labels));
    EXPECT_EQ(permuted.support.rows, task.episode({.seed = 1, .step = step}, false).support.rows);
  }
  EXPECT_GT(turned, 2);
  EXPECT_LT(turned, 18);
}

TEST_F(FewShot, ATaskWithTooFewRowsIsRefused) {
  EXPECT_THROW(FewShotTask("few", rows_of(head_of("products.train.tsv", 12)), 8, 8), ConfigError);
}

TEST_F(FewShot, EveryKindTrainsAndAdapts) {
  const std::string examples = head_of("editorials.train.tsv", 12);
  for (const char* kind : {"maml", "fomaml", "reptile", "anil", "metasgd"}) {
    const Config c = config(kind, std::string("{kind: ") + kind +
                                      ", inner_lr: 0.05, inner_steps: 2, shots: 2, queries: 2, tasks_per_step: 2}");
    const TrainResult trained = meta_train(c, {.quiet = true});
    EXPECT_EQ(trained.steps, 2);
    EXPECT_TRUE(std::isfinite(trained.train_loss)) << kind;
    DataConfig data;
    data.train = {examples};
    const auto loss_after = [&](int64_t steps) {
      const std::string out = (directory / (std::string(kind) + std::to_string(steps))).string();
      const double loss = adapt({.meta = c.out, .data = data, .out = out, .steps = steps, .rate = {}}).train_loss;
      MoRAModel model(load_model(minilm));
      EXPECT_EQ(load_adapter(fs::path(out) / "adapter", model).labels.size(), 2u);
      return loss;
    };
    EXPECT_LT(loss_after(20), loss_after(1)) << kind;
  }
}

TEST_F(FewShot, TheSameSeedGivesTheSameBits) {
  const std::string meta = "{kind: maml, shots: 2, queries: 2, tasks_per_step: 2, permute_labels: true}";
  for (const char* run : {"one", "two"}) meta_train(config(run, meta), {.quiet = true});
  EXPECT_EQ(test::read_bytes(directory / "one/adapter/adapter.safetensors"),
            test::read_bytes(directory / "two/adapter/adapter.safetensors"));
}

TEST_F(FewShot, AResumedRunIsTheUninterruptedRunToTheBit) {
  const std::string meta = "{kind: metasgd, shots: 2, queries: 2, tasks_per_step: 2, permute_labels: true}";
  Config whole = config("whole", meta), parts = config("parts", meta);
  whole.train.steps = parts.train.steps = 4;
  meta_train(whole, {.quiet = true});
  for (int64_t step = 1; step <= 4; ++step) {
    std::atomic<int> signal{step < 4 ? SIGTERM : 0};
    const TrainResult result = meta_train(parts, {.resume = step > 1, .quiet = true, .signal = &signal});
    EXPECT_EQ(result.steps, step);
    EXPECT_EQ(result.stopped_by, step < 4 ? SIGTERM : 0);
  }
  for (const char* file : {"adapter/adapter.safetensors", "meta/rates.safetensors"})
    EXPECT_TRUE(test::read_bytes(directory / "parts" / file) == test::read_bytes(directory / "whole" / file)) << file;
  std::ifstream a(directory / "whole/metrics.jsonl"), b(directory / "parts/metrics.jsonl");
  for (std::string one, other; std::getline(a, one);) {
    ASSERT_TRUE(std::getline(b, other));
    EXPECT_EQ(nlohmann::json::parse(one)["loss"], nlohmann::json::parse(other)["loss"]);
  }
  parts.meta->shots = 3;
  EXPECT_THROW(meta_train(parts, {.resume = true, .quiet = true}), ConfigError);
}

TEST_F(FewShot, WhatDoesNotGoTogetherIsRefused) {
  const std::string meta = "{shots: 2, queries: 2}";
  Config c = config("run", meta);
  c.train.steps.reset();
  EXPECT_THROW(meta_train(c, {.quiet = true}), ConfigError);
  c = config("run", meta, "optimizer: {sam: {}}\n");
  EXPECT_THROW(meta_train(c, {.quiet = true}), ConfigError);
  c = config("run", meta);
  c.meta.reset();
  EXPECT_THROW(meta_train(c, {.quiet = true}), ConfigError);
  EXPECT_FALSE(fs::exists(directory / "run"));
}

}  // namespace
}  // namespace mora
