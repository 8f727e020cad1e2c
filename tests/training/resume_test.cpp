// A run that is stopped after each of its updates and resumed is the run that was not, to the bit, with every feature
// that keeps state between updates. (More of it: trainer_test, rank_run_test, optimization_test.)
#include <csignal>

#include "training/trainer_fixture.h"

namespace mora {
namespace {

struct Feature {
  const char* name;
  const char* settings;
};

void PrintTo(const Feature& feature, std::ostream* out) { *out << feature.name; }

struct Resume : test::TrainerFixture, ::testing::WithParamInterface<Feature> {
  // The feature's settings, with the data in the place of each DATA.
  Config config_of(const std::string& run) const {
    const std::string data =
        fmt::format("{{train: {}, valid_fraction: 0.25, max_length: 32}}", (directory / "rows.tsv").string());
    std::string settings = GetParam().settings;
    for (size_t at = 0; (at = settings.find("DATA")) != std::string::npos;) settings.replace(at, 4, data);
    return parse_config("model: " + test::minilm + "\nout: " + (directory / run).string() + "\n" + settings,
                        "test.yaml");
  }
  // What a line of metrics.jsonl says, but for times.
  static nlohmann::json without_times(nlohmann::json line) {
    for (const char* key : {"seconds", "tokens_per_second"}) line.erase(key);
    return line;
  }
};

TEST_P(Resume, IsExact) {
  std::ifstream reviews(test::reviews);
  std::string rows, line;
  for (int i = 0; i < 25 && std::getline(reviews, line); ++i) rows += line + "\n";
  directory.write("rows.tsv", rows);

  train(config_of("whole"), {.quiet = true});
  const Config parts = config_of("parts");
  bool begun = false;
  for (int stops = 0; stops < 20; ++stops) {
    std::atomic<int> signal{SIGTERM};
    const TrainResult result = train(parts, {.resume = begun, .quiet = true, .signal = &signal});
    begun = true;
    if (result.stopped_by == 0) break;
  }
  EXPECT_TRUE(adapter_bytes(directory / "parts") == adapter_bytes(directory / "whole"));
  const auto a = metrics("whole"), b = metrics("parts");
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) EXPECT_EQ(without_times(a[i]), without_times(b[i])) << i;
}

constexpr Feature features[] = {
    {"LengthGroupsAcrossEpochs",
     "data: DATA\nadapter: {rank: 2}\ntrain: {epochs: 2, batch_size: null, batch_tokens: 150}\n"},
    {"ScaledLosses",
     "data: DATA\nadapter: {rank: 2, dropout: 0.1}\ntrain: {steps: 5, epochs: null, batch_size: 2, accumulate: 2, "
     "precision: f16}\n"},
    {"EarlyStopAndBestMetric",
     "data: DATA\nadapter: {rank: 2}\noptimizer: {lr: 0.05}\ntrain: {steps: 8, epochs: null, batch_size: 2, "
     "eval_every: 1, "
     "early_stop: {metric: loss, patience: 2}}\n"},
    {"LookSam",
     "data: DATA\nadapter: {rank: 2}\noptimizer: {kind: lars, momentum: 0.9, sam: {kind: looksam, interval: 3}}\n"
     "train: {steps: 5, epochs: null, batch_size: 2}\n"},
    {"Restarts",
     "data: DATA\nadapter: {rank: 2, operator: sharing, restart: {interval: 2, operators: [sharing, group], rewarm: "
     "2}}\n"
     "train: {steps: 5, epochs: null, batch_size: 2}\n"},
    {"GrowingExperts",
     "data: DATA\nadapter: {kind: lora, rank: 2, targets: [query], experts: {count: 2, routing: dynmoe, "
     "interval: 2, max_count: 4}}\ntrain: {steps: 5, epochs: null, batch_size: 2}\n"},
    {"SwitchedExperts",
     "data: DATA\nadapter: {rank: 2, targets: [query], experts: {count: 4, routing: switch}}\n"
     "train: {steps: 5, epochs: null, batch_size: 2}\n"},
    {"AdaptiveSteps",
     "data: DATA\nadapter: {rank: 2, targets: [query], act: {max_steps: 3}}\n"
     "train: {steps: 5, epochs: null, batch_size: 2}\n"},
    {"TasksWithReplay",
     "tasks: [{name: a, data: DATA}, {name: b, data: DATA}]\ncontinual: {kind: replay, buffer: 5}\n"
     "adapter: {rank: 2}\ntrain: {steps: 3, epochs: null, batch_size: 2}\n"},
    {"TasksWithElasticWeights",
     "tasks: [{name: a, data: DATA}, {name: b, data: DATA}]\ncontinual: {kind: ewc}\n"
     "adapter: {rank: 2}\ntrain: {steps: 3, epochs: null, batch_size: 2}\n"},
    {"OrthogonalTasks",
     "tasks: [{name: a, data: DATA}, {name: b, data: DATA}]\ncontinual: {kind: olora}\n"
     "adapter: {kind: lora, rank: 2}\ntrain: {steps: 3, epochs: null, batch_size: 2}\n"},
};

INSTANTIATE_TEST_SUITE_P(Features, Resume, ::testing::ValuesIn(features),
                         [](const auto& feature) { return std::string(feature.param.name); });

}  // namespace
}  // namespace mora
