// mora train on the emulated device: a tiny BERT and a tiny Llama learn as on the processor, with every adapter that
// runs there, and go on from a checkpoint as if they had not been stopped.
#include <atomic>
#include <csignal>
#include <cstdlib>

#include "cuda/training_run.h"
#include "cuda/twin.h"
#include "mora/training/inference.h"

namespace mora::test {
namespace {

constexpr double tolerance = 1e-3;  // relative, of losses

struct Settings {
  const char* name;
  const char* family;
  const char* settings;  // behind model, data and out
};
void PrintTo(const Settings& run, std::ostream* out) { *out << run.name; }

constexpr Settings runs[] = {
    {"mora_adamw", "bert", "task: classification\nadapter: {kind: mora, rank: 4, dropout: 0.1}\n"},
    {"dora_sam", "bert",
     "task: classification\nadapter: {kind: dora, rank: 2}\nhead: {pooling: mean, class_weights: balanced}\n"
     "optimizer: {kind: sgd, lr: 0.05, sam: {kind: asam}}\n"},
    {"whole_lamb", "bert",
     "task: classification\nadapter: {kind: none, modules_to_save: [layer.1.output.dense]}\n"
     "optimizer: {kind: lamb, lr: 0.01}\n"},
    {"pissa_lars", "bert",
     "task: classification\nadapter: {kind: lora, rank: 2, init: pissa}\n"
     "optimizer: {kind: lars, lr: 0.1, sam: {kind: looksam, interval: 2}}\n"},
    {"regression", "bert", "task: regression\nadapter: {kind: lora, rank: 2, dropout: 0.2}\n"},
    {"lora_recomputed", "llama",
     "task: causal_lm\nadapter: {kind: lora, rank: 4, dropout: 0.1}\ntrain: {recompute: true, accumulate: 2, clip: "
     "0.5}\n"},
    {"embedding_lora", "llama_gqa_tied",
     "task: causal_lm\nadapter: {kind: lora, rank: 4, targets: [embed_tokens, v_proj]}\noptimizer: {lr: 0.01}\n"},
    {"adalora_bf16", "llama", "task: causal_lm\nadapter: {kind: adalora, rank: 3}\ntrain: {precision: bf16}\n"},
    {"experts_stacked", "llama",
     "task: causal_lm\nadapter: {kind: lora, rank: 4, experts: {count: 4, top_k: 2}}\ntrain: {recompute: true}\n"},
    {"experts_grouped", "bert",
     "task: classification\nadapter: {kind: mora, rank: 4, experts: {count: 8, routing: top_p}}\n"},
    {"experts_in_a_tree", "bert",
     "task: classification\nadapter: {kind: lora, rank: 4, experts: {count: null, hierarchy: [2, 3], routing: "
     "threshold}}\n"},
    {"experts_switch", "bert",
     "task: classification\nadapter: {kind: lora, rank: 16, dropout: 0.1, experts: {count: 4, routing: switch}}\n"},
    {"experts_come_and_go", "bert",
     "task: classification\nadapter: {kind: lora, rank: 2, experts: {count: 3, routing: dynmoe, interval: 1}}\n"},
    {"adaptive_steps", "llama", "task: causal_lm\nadapter: {kind: mora, rank: 4, act: {max_steps: 3, epsilon: 0.2}}\n"},
    {"adaptive_steps_of_experts", "bert",
     "task: classification\nadapter: {kind: mora, rank: 2, act: {max_steps: 3, loss: pondernet}, experts: {count: "
     "8}}\n"},
    {"ranks_of_adalora", "bert",
     "task: classification\nadapter: {kind: adalora, rank: 4, adapt: {budget: 2, start: 0, end: 2, interval: 1, "
     "max_rank: 6}}\n"},
    {"ranks_of_dora", "bert",
     "task: classification\nadapter: {kind: dora, rank: 4, adapt: {budget: 2, start: 0, end: 2, interval: 1, "
     "importance: norm, scale_lr: true}}\n"},
    {"ranks_of_mora", "bert",
     "task: classification\nadapter: {kind: mora, rank: 4, operator: sharing, adapt: {budget: 2, start: 0, end: 2, "
     "interval: 1, importance: gradient}}\noptimizer: {sam: {kind: looksam, interval: 2}}\n"},
    {"restarts", "llama",
     "task: causal_lm\nadapter: {kind: mora, rank: 4, operator: sharing, restart: {interval: 1, operators: [sharing, "
     "group], rewarm: 0}}\n"},
    {"mora_f16", "llama_gqa_tied", "task: causal_lm\nadapter: {kind: mora, rank: 4}\ntrain: {precision: f16}\n"},
};

struct EveryRun : TrainingOnDevice, testing::WithParamInterface<Settings> {};
INSTANTIATE_TEST_SUITE_P(Runs, EveryRun, testing::ValuesIn(runs),
                         [](const auto& run) { return std::string(run.param.name); });

TEST_P(EveryRun, LearnsAsOnTheProcessor) {
  write_model(GetParam().family);
  const TrainResult here = train(config(GetParam().settings, "cpu"), {.quiet = true}),
                    there = train(config(GetParam().settings, "cuda"), {.quiet = true});
  const bool halves = std::string_view(GetParam().settings).find("16}") != std::string_view::npos;
  const double near = halves ? 20 * tolerance : tolerance;
  expect_same_losses(3, near);
  EXPECT_NEAR(there.valid->loss, here.valid->loss, near * here.valid->loss);
}

// Of batches of one shape most passes are replays. With MORA_SYNC none is.
struct ReplayedRun : EveryRun {};
std::vector<Settings> recordable() {  // some of those that are: the emulator is slow
  std::vector<Settings> result;
  for (const Settings& run : runs)
    if (const std::string_view name = run.name; name == "mora_adamw" || name == "lora_recomputed")
      result.push_back(run);
  return result;
}
INSTANTIATE_TEST_SUITE_P(Runs, ReplayedRun, testing::ValuesIn(recordable()),
                         [](const auto& run) { return std::string(run.param.name); });

TEST_P(ReplayedRun, HasTheSameBits) {
  write_model(GetParam().family);
  Config replayed = config(GetParam().settings, "cuda"), called = replayed;
  called.out = (directory / "called").string();
  replayed.train.steps = called.train.steps = 4;
  const TrainResult with = train(replayed, {.quiet = true});
  ::setenv("MORA_SYNC", "1", 1);
  const TrainResult without = train(called, {.quiet = true});
  ::unsetenv("MORA_SYNC");
  EXPECT_GE(with.replayed, 3);
  EXPECT_EQ(without.replayed, 0);
  EXPECT_EQ(losses("cuda").size(), 4u);
  EXPECT_EQ(losses("cuda"), losses("called"));
  EXPECT_EQ(adapter("cuda"), adapter("called"));
}

using Training = TrainingOnDevice;

TEST_F(Training, GoesOnFromACheckpointBitByBit) {
  write_model();
  Config whole = config(runs[0].settings, "cuda");
  train(whole, {.quiet = true});
  Config stopped = whole;
  stopped.out = (directory / "stopped").string();
  std::atomic<int> signal = SIGTERM;  // after the first update
  EXPECT_EQ(train(stopped, {.quiet = true, .signal = &signal}).stopped_by, SIGTERM);
  EXPECT_EQ(train(stopped, {.resume = true, .quiet = true}).steps, 3);
  EXPECT_EQ(losses("stopped"), losses("cuda"));
  EXPECT_EQ(adapter("stopped"), adapter("cuda"));
}

// Losses are read at the interval, and before what depends on them: the lines are the same but for the time.
TEST_F(Training, LossesThatAreReadLaterAreTheSame) {
  write_model();
  std::vector<std::vector<double>> curves;
  for (const int64_t interval : {1, 2}) {
    Config c = config(runs[0].settings, "cuda");
    c.out = (directory / std::to_string(interval)).string();
    c.train.log_every = interval;
    train(c, {.quiet = true});
    curves.push_back(losses(std::to_string(interval)));
    EXPECT_EQ(adapter(std::to_string(interval)), adapter("1"));
  }
  EXPECT_EQ(curves[0].size(), 3u);
  EXPECT_EQ(curves[1], curves[0]);
}

// The device finds out by itself, and the processor hears of it later.
TEST_F(Training, WhatIsNotFiniteIsSkippedOnTheDevice) {
  write_model();
  const auto events = [&](const std::string& on) {
    std::vector<std::pair<int64_t, std::string>> skipped;
    Config c = config("adapter: {kind: lora, rank: 2}\noptimizer: {kind: sgd, lr: 1.0e+36}\n", on);
    c.train.clip.reset();
    c.train.steps = 5;
    train(c, {.quiet = true});
    std::ifstream lines(directory / on / "metrics.jsonl");
    for (std::string line; std::getline(lines, line);) {
      const auto json = nlohmann::json::parse(line);
      if (json.contains("event") && json["event"]["kind"] == "skipped_update")
        skipped.emplace_back(json["step"], json["event"]["reason"]);
    }
    return skipped;
  };
  const auto here = events("cpu");
  EXPECT_GE(here.size(), 3u);
  EXPECT_EQ(events("cuda"), here);
  EXPECT_EQ(adapter("cuda").size(), adapter("cpu").size());
}

TEST_F(Training, AnAdapterServesOnBothDevices) {
  write_model();
  const Config c = config(runs[0].settings, "cuda");
  train(c, {.quiet = true});
  const std::filesystem::path adapter = directory / "cuda" / "adapter";
  std::vector<std::vector<float>> outputs;
  for (const Device on : {cpu, device}) {
    const InferenceModel opened = open_for_inference(c.model, adapter, on);
    DataConfig columns = *c.data;
    columns.train = c.data->valid;
    outputs.push_back(outputs_of(*opened.model, labelled_data(opened, c.model, c.task, columns)));
  }
  ASSERT_EQ(outputs[0].size(), 18u);
  for (size_t i = 0; i < outputs[0].size(); ++i)
    EXPECT_NEAR(outputs[1][i], outputs[0][i], tolerance * (1 + std::abs(outputs[0][i])));
}

}  // namespace
}  // namespace mora::test
