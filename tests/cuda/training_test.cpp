// mora train on the emulated device: a tiny BERT and a tiny Llama learn as on the processor, with every adapter that
// runs there, and go on from a checkpoint as if they had not been stopped.
#include <atomic>
#include <csignal>
#include <fstream>

#include "cli/tiny_model.h"
#include "cuda/twin.h"
#include "mora/training/inference.h"
#include "mora/training/trainer.h"

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
    {"lora_recomputed", "llama",
     "task: causal_lm\nadapter: {kind: lora, rank: 4, dropout: 0.1}\ntrain: {recompute: true, accumulate: 2, clip: "
     "0.5}\n"},
    {"embedding_lora", "llama_gqa_tied",
     "task: causal_lm\nadapter: {kind: lora, rank: 4, targets: [embed_tokens, v_proj]}\noptimizer: {lr: 0.01}\n"},
    {"adalora_bf16", "llama", "task: causal_lm\nadapter: {kind: adalora, rank: 3}\ntrain: {precision: bf16}\n"},
    {"mora_f16", "llama_gqa_tied", "task: causal_lm\nadapter: {kind: mora, rank: 4}\ntrain: {precision: f16}\n"},
};

struct Training : TinyModel {
  Config config(const Settings& run, const std::string& on) {
    std::string text = fmt::format(
        "model: {}\ndata: {{train: {}, valid: {}, text: text{}}}\nout: {}\ndevice: {}\n{}",
        (directory / "model").string(), write_data("train.tsv", 12), write_data("valid.tsv", 6),
        std::string_view(run.family) == "bert" ? ", label: label" : "", (directory / on).string(), on, run.settings);
    return parse_config(text, "run.yaml",
                        std::vector<std::string>{"train.steps=3", "train.epochs=null", "train.batch_size=4"});
  }
  std::vector<double> losses(const std::string& out) const {
    std::ifstream lines(directory / out / "metrics.jsonl");
    std::vector<double> result;
    for (std::string line; std::getline(lines, line);)
      if (const auto json = nlohmann::json::parse(line); json.contains("loss")) result.push_back(json["loss"]);
    return result;
  }
  std::string adapter(const std::string& out) const {
    return read_bytes(directory / out / "adapter" / "adapter.safetensors");
  }
};

struct EveryRun : Training, testing::WithParamInterface<Settings> {};
INSTANTIATE_TEST_SUITE_P(Runs, EveryRun, testing::ValuesIn(runs),
                         [](const auto& run) { return std::string(run.param.name); });

TEST_P(EveryRun, LearnsAsOnTheProcessor) {
  write_model(GetParam().family);
  const TrainResult here = train(config(GetParam(), "cpu"), {.quiet = true}),
                    there = train(config(GetParam(), "cuda"), {.quiet = true});
  const std::vector<double> expected = losses("cpu"), got = losses("cuda");
  const bool halves = std::string_view(GetParam().settings).find("16}") != std::string_view::npos;
  const double near = halves ? 20 * tolerance : tolerance;
  ASSERT_EQ(expected.size(), 3u);
  ASSERT_EQ(got.size(), 3u);
  for (size_t i = 0; i < 3; ++i) EXPECT_NEAR(got[i], expected[i], near * expected[i]) << "update " << i + 1;
  EXPECT_NE(expected[0], expected[2]);
  EXPECT_NEAR(there.valid->loss, here.valid->loss, near * here.valid->loss);
}

TEST_F(Training, GoesOnFromACheckpointBitByBit) {
  write_model();
  Config whole = config(runs[0], "cuda");
  train(whole, {.quiet = true});
  Config stopped = whole;
  stopped.out = (directory / "stopped").string();
  std::atomic<int> signal = SIGTERM;  // after the first update
  EXPECT_EQ(train(stopped, {.quiet = true, .signal = &signal}).stopped_by, SIGTERM);
  EXPECT_EQ(train(stopped, {.resume = true, .quiet = true}).steps, 3);
  EXPECT_EQ(losses("stopped"), losses("cuda"));
  EXPECT_EQ(adapter("stopped"), adapter("cuda"));
}

TEST_F(Training, AnAdapterServesOnBothDevices) {
  write_model();
  const Config c = config(runs[0], "cuda");
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

TEST_F(Training, WhatWorksOnTheProcessorAloneIsRefused) {
  write_model();
  for (const char* settings :
       {"adapter: {kind: lora, adapt: {budget: 4}}\n", "adapter: {kind: mora, restart: {interval: 2}}\n",
        "adapter: {kind: mora, experts: {count: 2, top_k: 1}}\n", "adapter: {kind: mora, act: {max_steps: 2}}\n"}) {
    const std::string text = std::string("task: classification\n") + settings;
    try {
      config({"", "bert", text.c_str()}, "cuda");
      ADD_FAILURE() << settings;
    } catch (const ConfigError& error) {
      EXPECT_NE(std::string(error.what()).find("works on the processor so far; leave device: cuda out"),
                std::string::npos)
          << error.what();
    }
  }
}

}  // namespace
}  // namespace mora::test
