// The configurations of examples/, each for a few updates on a small part of its data: what is held out gets better.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "loaders/temporary_directory.h"
#include "mora/training/setup.h"
#include "mora/training/trainer.h"

namespace mora {
namespace {

namespace fs = std::filesystem;

// The first `lines` lines of a data file, under the same extension.
std::string head_of(const std::string& file, int lines, const fs::path& to) {
  std::ifstream in(file);
  EXPECT_TRUE(in.good()) << file << ": run tools/fetch.sh first";
  const fs::path part = to / fs::path(file).filename();
  std::ofstream out(part);
  std::string line;
  for (int i = 0; i < lines && std::getline(in, line); ++i) out << line << '\n';
  return part.string();
}

struct ShortRun {
  const char* name;
  int train_rows, valid_rows;
  std::vector<std::string> overrides;
};

class Examples : public ::testing::TestWithParam<ShortRun> {
 protected:
  void SetUp() override {
    before_ = fs::current_path();
    fs::current_path(MORA_SOURCE_DIR);  // their paths are relative
  }
  void TearDown() override { fs::current_path(before_); }
  fs::path before_;
  test::TemporaryDirectory directory_;
};

TEST_P(Examples, LowerTheHeldOutLoss) {
  const ShortRun& example = GetParam();
  std::vector<std::string> overrides = example.overrides;
  overrides.insert(overrides.end(), {"train.eval_every=null", "train.save_every=null", "train.epochs=null",
                                     "schedule.warmup=0", "out=" + (directory_ / "run").string()});
  Config config = load_config(fs::path("examples") / (std::string(example.name) + ".yaml"), overrides);
  config.data->train = {head_of(config.data->train.front(), example.train_rows, directory_.path())};
  config.data->valid = {head_of(config.data->valid.front(), example.valid_rows, directory_.path())};

  double before = 0;
  {
    const TrainingSetup setup = set_up(config);
    before = evaluate(*setup.model, setup.tasks[0].valid, config.task).loss;
  }
  const TrainResult result = train(config, {.quiet = true});
  ASSERT_TRUE(result.valid.has_value());
  EXPECT_LT(result.valid->loss, 0.97 * before);
  if (config.task == Task::causal_lm) {
    EXPECT_NEAR(result.valid->metrics.at("perplexity"), std::exp(result.valid->loss), 1e-3);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Tasks, Examples,
    ::testing::Values(ShortRun{"classification", 600, 100, {"train.steps=15"}},
                      ShortRun{"regression", 600, 100, {"train.steps=15"}},
                      ShortRun{"text", 40, 8, {"train.steps=4", "train.batch_tokens=256", "optimizer.lr=1e-3"}},
                      ShortRun{"instruction", 40, 12, {"train.steps=4", "train.batch_tokens=256"}},
                      ShortRun{"chat", 40, 8, {"train.steps=4", "train.batch_tokens=256", "optimizer.lr=1e-3"}}),
    [](const auto& tested) { return tested.param.name; });

}  // namespace
}  // namespace mora
