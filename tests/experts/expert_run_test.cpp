// Training runs with experts: what they log and refuse, and that they resume to the bit.
#include <csignal>

#include "mora/rank/expert_events.h"
#include "training/trainer_fixture.h"

namespace mora {
namespace {

const std::string four_updates = "train: {steps: 4, epochs: null, batch_size: 2, eval_every: null, save_every: 1}\n";

struct ExpertRun : test::TrainerFixture {};

TEST_F(ExpertRun, AnUpdateSaysWhatTheRouterDid) {
  train(
      config("run", "adapter: {kind: lora, rank: 2, targets: [query], experts: {count: 4, top_k: 2}}\n" + four_updates),
      {.quiet = true});
  size_t updates = 0;
  for (const nlohmann::json& line : metrics("run")) {
    if (!line.contains("loss")) continue;
    ++updates;
    EXPECT_EQ(line.at("active_experts").get<double>(), 2);
    const double load = line.at("expert_load_max").get<double>(), entropy = line.at("router_entropy").get<double>();
    EXPECT_GE(load, 1);
    EXPECT_LE(load, 2);  // every token's first or second, which is half of the slots: twice the fair quarter
    EXPECT_GT(entropy, 0.5);
    EXPECT_LE(entropy, std::log(4.0));
  }
  EXPECT_EQ(updates, 4U);
}

TEST_F(ExpertRun, StepsAreReportedByLayerWhereItIsEvaluated) {
  Config c = config("run",
                    "adapter: {kind: mora, rank: 2, targets: [query], act: {max_steps: 3}, experts: {hierarchy: [2, "
                    "2], top_k: 1}}\ntrain: {steps: 4, epochs: null, batch_size: 2, eval_every: 2}\n");
  std::ofstream(directory / "valid.tsv") << "text\tlabel\ngood\tpositive\nbad\tnegative\n";
  c.data->valid = {(directory / "valid.tsv").string()};
  train(c, {.quiet = true});
  size_t events = 0;
  for (const nlohmann::json& line : metrics("run")) {
    if (line.contains("loss")) {
      EXPECT_GE(line.at("act_steps").get<double>(), 1);
      EXPECT_LE(line.at("act_steps").get<double>(), 3);
    }
    if (!line.contains("event")) continue;
    ++events;
    EXPECT_EQ(line["event"]["kind"], "routing");
    ASSERT_EQ(line["event"]["layers"].size(), 6U);
    for (const auto& [path, layer] : line["event"]["layers"].items()) {
      EXPECT_EQ(layer.at("active_experts").get<double>(), 2) << "a group and a leaf";
      EXPECT_EQ(layer.at("load").size(), 2U);
      EXPECT_GE(layer.at("act_steps").get<double>(), 1) << path;
    }
  }
  EXPECT_EQ(events, 2U);
}

TEST_F(ExpertRun, WhatCannotHaveExpertsIsRefused) {
  for (const auto& [settings, message] :
       {std::pair("adapter: {kind: dora, experts: {count: 4}}\n", "adapter.kind: experts are mora, lora or rslora"),
        {"adapter: {kind: lora, init: pissa, experts: {count: 4}}\n", "'pissa' does not go with experts"},
        {"adapter: {kind: lora, experts: {count: 4}, adapt: {budget: 2}}\n", "does not go with adapt or restart"},
        {"adapter: {kind: lora, experts: {count: 4, top_k: 5}}\n", "adapter.experts.top_k: 5 of 4 experts"},
        {"adapter: {kind: lora, act: {max_steps: 2}}\n", "adapter.act: is for mora, not lora"},
        {"adapter: {act: {max_steps: 2}, restart: {interval: 2}}\n", "adapter.act: does not go with adapt"},
        {"adapter: {kind: lora, experts: {hierarchy: [4, 2], top_k: 3}}\n", "adapter.experts.top_k: 3 of 2 experts"},
        {"adapter: {kind: lora, experts: {hierarchy: [2, 2], routing: dynmoe}}\n", "has one level"},
        {"adapter: {kind: lora, experts: {count: 4, routing: threshold, threshold: 0.3}}\n",
         "0.3 is above 1 / 4 experts"}}) {
    const std::string error = test::error_of<ConfigError>([&] { config("run", settings); });
    EXPECT_NE(error.find(message), std::string::npos) << error;
  }
}

struct Kind {
  const char *name, *adapter;
};
void PrintTo(const Kind& kind, std::ostream* out) { *out << kind.name; }

const Kind kinds[] = {
    {"lora_top_k", "kind: lora, rank: 2, dropout: 0.1, experts: {count: 4}"},
    {"mora_top_p", "kind: mora, rank: 2, operator: sharing, experts: {count: 4, routing: top_p}"},
    {"lora_dynmoe", "kind: lora, rank: 2, experts: {count: 3, routing: dynmoe, interval: 2, max_count: 5}"},
    {"mora_dynmoe", "kind: mora, rank: 2, experts: {count: 3, routing: dynmoe, interval: 3, max_count: 5}"},
    {"mora_dynmoe_steps",
     "kind: mora, rank: 2, experts: {count: 3, routing: dynmoe, interval: 2, max_count: 5}, act: {max_steps: 3}"},
    {"mora_switch", "kind: mora, rank: 2, experts: {count: 4, routing: switch, noise: 0.1}"},
    {"mora_steps", "kind: mora, rank: 2, act: {max_steps: 3, ponder: 0.1}"},
    {"mora_tree_steps",
     "kind: mora, rank: 2, dropout: 0.1, experts: {hierarchy: [2, 2], top_k: 1}, act: {max_steps: 3, loss: pondernet}"},
    {"mora_tree", "kind: mora, rank: 2, operator: group, experts: {hierarchy: [2, 3], top_k: 1}"},
    {"lora_threshold", "kind: rslora, rank: 2, experts: {count: 3, routing: threshold}"},
};

// Adam forgets nothing of the experts that stay, and what went is gone from the file.
TEST_F(ExpertRun, DynMoEsExpertsComeAndGo) {
  train(config("run",
               "adapter: {kind: lora, rank: 2, targets: [query], experts: {count: 3, routing: dynmoe, interval: 2, "
               "max_count: 4}}\n" +
                   four_updates),
        {.quiet = true});
  std::map<std::string, int64_t> counts;
  for (const nlohmann::json& line : metrics("run")) {
    if (!line.contains("event")) continue;
    EXPECT_EQ(line["event"]["kind"], "experts");
    counts = line["event"]["experts"].get<std::map<std::string, int64_t>>();
  }
  ASSERT_EQ(counts.size(), 6U);  // of MiniLM's layers
  MoRAModel model(load_model(test::minilm));
  load_adapter(directory / "run/adapter", model);
  EXPECT_EQ(experts_of(model), counts);
}

struct ResumedExpertRun : ExpertRun, ::testing::WithParamInterface<Kind> {};

TEST_P(ResumedExpertRun, StoppedAfterEachUpdateItIsTheSameToTheBit) {
  const std::string settings = "adapter: {targets: [query], " + std::string(GetParam().adapter) + "}\n" + four_updates;
  train(config("whole", settings), {.quiet = true});
  const Config parts = config("parts", settings);
  for (int update = 1; update <= 4; ++update) {
    std::atomic<int> signal{SIGTERM};
    train(parts, {.resume = update > 1, .quiet = true, .signal = &signal});
  }
  train(parts, {.resume = true, .quiet = true});
  EXPECT_EQ(adapter_bytes(directory / "parts"), adapter_bytes(directory / "whole"));
  const auto a = metrics("whole"), b = metrics("parts");
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i)
    for (const char* key :
         {"step", "loss", "grad_norm", "active_experts", "expert_load_max", "router_entropy", "act_steps", "event"})
      EXPECT_EQ(a[i].value(key, nlohmann::json()), b[i].value(key, nlohmann::json())) << i << " " << key;
}

INSTANTIATE_TEST_SUITE_P(Kinds, ResumedExpertRun, ::testing::ValuesIn(kinds),
                         [](const auto& tested) { return std::string(tested.param.name); });

}  // namespace
}  // namespace mora
