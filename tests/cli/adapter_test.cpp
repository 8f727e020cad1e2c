// The commands around a trained adapter: preview and plan before the training; merge and export after it.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "cli/program.h"
#include "loaders/temporary_directory.h"

namespace {

namespace fs = std::filesystem;
using mora::test::content;

const fs::path source = MORA_SOURCE_DIR;
const std::string minilm = (source / ".cache/models/minilm").string();

struct AdapterCommands : ::testing::Test {
  static void SetUpTestSuite() { ASSERT_TRUE(fs::exists(minilm)) << "run tools/fetch.sh first"; }
  void SetUp() override {
    std::ifstream reviews(source / ".cache/data/reviews.train.tsv");
    std::ofstream part(directory / "reviews.tsv");
    std::string line;
    for (int i = 0; i < 200 && std::getline(reviews, line); ++i) part << line << '\n';
  }

  struct Result {
    int code;
    std::string out, err;
    nlohmann::json json() const { return nlohmann::json::parse(out.substr(out.rfind('\n', out.size() - 2) + 1)); }
  };
  Result mora(std::vector<std::string> words) const {
    words.push_back("--json");
    const pid_t child =
        mora::test::start_mora(std::move(words), "/dev/null", directory / "out.txt", directory / "err.txt");
    const int code = mora::test::exit_code(child);
    return {code, content(directory / "out.txt"), content(directory / "err.txt")};
  }
  std::string at(const std::string& name) const { return (directory / name).string(); }
  std::string config(const std::string& more) const {
    return directory
        .write("config.yaml",
               "model: " + minilm + "\ndata: {train: " + at("reviews.tsv") + "}\nout: " + at("run") + "\n" + more)
        .string();
  }
  void train(const std::string& adapter) const {
    const Result result = mora({"train", config("adapter: " + adapter +
                                                "\nhead: {pooling: pooler}\noptimizer: {lr: 1e-2}\n"
                                                "train: {steps: 3, epochs: null, batch_size: 4, save_every: null}\n")});
    ASSERT_EQ(result.code, 0) << result.err;
  }
  std::vector<nlohmann::json> predictions(std::vector<std::string> words) const {
    words.insert(words.begin(), {"predict", "--data", at("reviews.tsv"), "--out", at("predictions.jsonl")});
    const Result result = mora(std::move(words));
    EXPECT_EQ(result.code, 0) << result.err;
    std::ifstream lines(directory / "predictions.jsonl");
    std::vector<nlohmann::json> rows;
    for (std::string line; std::getline(lines, line);) rows.push_back(nlohmann::json::parse(line));
    return rows;
  }
  void expect_same_predictions(const std::vector<nlohmann::json>& a, const std::vector<nlohmann::json>& b) const {
    ASSERT_EQ(a.size(), 199U);
    ASSERT_EQ(b.size(), a.size());
    for (size_t i = 0; i < a.size(); ++i)
      EXPECT_NEAR(a[i]["scores"].at("positive"), b[i]["scores"].at("positive"), 1e-5) << i;
  }

  mora::test::TemporaryDirectory directory;
};

TEST_F(AdapterCommands, AMergedModelPredictsWithoutItsAdapter) {
  train("{kind: mora, rank: 4, operator: rotation}");
  const Result merge = mora({"merge", "--model", minilm, "--adapter", at("run/adapter"), "--out", at("merged")});
  ASSERT_EQ(merge.code, 0) << merge.err;
  EXPECT_LT(merge.json().at("max_abs_error"), 1e-4);
  expect_same_predictions(predictions({"--model", minilm, "--adapter", at("run/adapter")}),
                          predictions({"--model", at("merged")}));
  EXPECT_EQ(mora({"merge", "--model", minilm, "--out", at("merged")}).code, 1);  // it is there already
  const Result dtype = mora({"merge", "--model", minilm, "--out", at("other"), "--dtype", "f32"});
  EXPECT_NE(dtype.err.find("--dtype is for .gguf files"), std::string::npos) << dtype.err;

  const Result refused = mora({"export", "--adapter", at("run/adapter"), "--to", "peft", "--out", at("peft")});
  EXPECT_EQ(refused.code, 1);
  EXPECT_NE(refused.err.find("rotation is not a low-rank update: merge it instead"), std::string::npos) << refused.err;
  EXPECT_FALSE(fs::exists(at("peft")) || fs::exists(at("peft.partial")));
}

TEST_F(AdapterCommands, AnExportedAdapterIsTheAdapter) {
  train("{kind: mora, rank: 4, operator: group}");
  // The model is the one that the adapter names.
  const Result result = mora({"export", "--adapter", at("run/adapter"), "--to", "peft", "--out", at("peft")});
  ASSERT_EQ(result.code, 0) << result.err;
  EXPECT_EQ(result.json().at("exact"), true);
  EXPECT_EQ(result.json().at("tensors"), 2 * 36 + 2);
  expect_same_predictions(predictions({"--model", minilm, "--adapter", at("run/adapter")}),
                          predictions({"--model", minilm, "--adapter", at("peft")}));

  const Result sum = mora({"combine", "--model", minilm, "--adapter", at("run/adapter") + "=0.25", "--adapter",
                           at("peft") + "=0.75", "--out", at("sum")});
  ASSERT_EQ(sum.code, 0) << sum.err;
  EXPECT_EQ(sum.json().at("modules"), 36);
  expect_same_predictions(predictions({"--model", minilm, "--adapter", at("peft")}),
                          predictions({"--model", minilm, "--adapter", at("sum")}));
  const Result weight = mora({"combine", "--model", minilm, "--adapter", at("peft") + "=half", "--out", at("other")});
  EXPECT_NE(weight.err.find("expected DIR=WEIGHT"), std::string::npos) << weight.err;
  const Result gguf = mora({"export", "--adapter", at("run/adapter"), "--to", "gguf", "--out", at("x.gguf")});
  EXPECT_EQ(gguf.code, 1);
  EXPECT_NE(gguf.err.find("GGUF cannot hold its trained head"), std::string::npos) << gguf.err;
}

TEST_F(AdapterCommands, ADamagedAdapterIsNamedWithItsFile) {
  train("{kind: mora, rank: 4, operator: group}");
  const std::string good = content(directory / "run/adapter/mora_config.json");
  const struct {
    const char *from, *to, *error;
  } cases[] = {
      {"\"format\": 1", "\"format\": 2", "format 2: written by a newer mora; this one reads up to 1"},
      {"\"operator\": \"group\"", "\"operator\": \"grup\"", "operator: 'grup': expected one of truncation, "},
      {"\"kind\": \"mora\"", "\"kind\": \"morra\"", "kind: 'morra': expected one of mora, "},
      {"\"pooling\": \"pooler\"", "\"pooling\": \"pool\"", "pooling: 'pool': expected pooler, cls or mean"},
      {"\"negative\"", "\"positive\"", "labels: two classes are called 'positive'"},
  };
  for (const auto& c : cases) {
    std::string bad = good;
    const size_t begin = bad.find(c.from);
    ASSERT_NE(begin, std::string::npos) << c.from;
    directory.write("run/adapter/mora_config.json", bad.replace(begin, std::string(c.from).size(), c.to));
    const Result result = mora({"predict", "--model", minilm, "--adapter", at("run/adapter"), "--data",
                                at("reviews.tsv"), "--out", at("predictions.jsonl")});
    EXPECT_EQ(result.code, 1);
    EXPECT_TRUE(result.err.starts_with("error: " + at("run/adapter/mora_config.json") + ": ")) << result.err;
    EXPECT_NE(result.err.find(c.error), std::string::npos) << result.err;
    EXPECT_EQ(result.err.find('\n'), result.err.size() - 1);
  }
}

TEST_F(AdapterCommands, PreviewShowsWhichTokensAreTrained) {
  directory.write("chat.jsonl", R"({"prompt": "Say yes.", "completion": " yes"})"
                                "\n");
  const std::string gguf = (source / ".cache/models/SmolLM2-135M-Instruct.Q4_1.gguf").string();
  const std::string path =
      directory
          .write("chat.yaml", "model: " + gguf + "\ntask: causal_lm\nout: " + at("run") +
                                  "\ndata: {train: " + at("chat.jsonl") + ", prompt: prompt, completion: completion}\n")
          .string();
  const Result result = mora({"preview", path});
  ASSERT_EQ(result.code, 0) << result.err;
  const nlohmann::json row = result.json().at("rows").at(0);
  EXPECT_EQ(row.at("trained"), nlohmann::json({false, false, false, true, true}));  // Say, yes, ., yes, the end token
  EXPECT_EQ(row.at("ids").size(), 5U);
  EXPECT_EQ(result.json().at("truncated"), 0);
  const Result cut = mora({"preview", path, "data.max_length=4"});
  EXPECT_EQ(cut.json().at("truncated"), 1);
  EXPECT_NE(cut.err.find("warning: 1 of 1 rows"), std::string::npos) << cut.err;
}

TEST_F(AdapterCommands, WhatDoesNotFitIsToldTheSettingsThatDo) {
  const std::string path = config("train: {batch_size: 64}\nadapter: {kind: lora}\n");
  const nlohmann::json all = mora({"plan", path, "--no-measure"}).json();
  EXPECT_EQ(all.at("fits"), true);
  EXPECT_TRUE(all.at("advice").empty());
  const double whole = all.at("peak_bytes").get<double>(), activations = all.at("activation_bytes").get<double>();
  const std::string most = std::to_string((whole - 0.4 * activations) / 1e9);  // a GB and its parts
  const nlohmann::json tight = mora({"plan", path, "--memory", most}).json();
  EXPECT_EQ(tight.at("fits"), false);
  EXPECT_TRUE(tight.at("seconds_per_step").is_null()) << "what does not fit was measured";
  EXPECT_EQ(tight.at("advice"), nlohmann::json({"train.batch_size=32", "train.accumulate=2"}));
  std::vector<std::string> words = {"plan", path, "--memory", most, "--no-measure"};
  for (const auto& word : tight.at("advice")) words.push_back(word);
  EXPECT_EQ(mora(words).json().at("fits"), true);
  EXPECT_EQ(mora({"plan", path, "--memory", "0.01"}).json().at("advice"), nlohmann::json::array());
}

TEST_F(AdapterCommands, PlanForetellsTheMemoryOfTheTraining) {
  // Rows of one length, as batches of many lengths let the process grow with each new one.
  const std::string path = config(
      "train: {epochs: null, steps: 3, batch_size: 64, eval_every: null, save_every: null}\n"
      "adapter: {kind: lora, rank: 8}\n");
  std::ofstream rows(directory / "reviews.tsv");
  rows << "text\tlabel\n";
  for (int i = 0; i < 256; ++i)
    rows << "a film of one length , as all the films here are , with some words more\t" << (i % 2 ? "yes" : "no")
         << "\n";
  rows.close();
  const nlohmann::json measured = mora({"plan", path}).json(), estimated = mora({"plan", path, "--no-measure"}).json();
  const nlohmann::json trained = mora({"train", path, "--quiet"}).json();
  const double peak = trained.at("peak_memory_bytes").get<double>();
  for (const nlohmann::json& plan : {measured, estimated}) {
    EXPECT_EQ(plan.at("steps"), trained.at("steps"));
    EXPECT_EQ(plan.at("adapter_bytes").get<int64_t>(), 4 * trained.at("trainable_parameters").get<int64_t>());
    EXPECT_EQ(plan.at("optimizer_bytes").get<int64_t>(), 3 * plan.at("adapter_bytes").get<int64_t>());
  }
  EXPECT_NEAR(measured.at("peak_bytes").get<double>() / peak, 1, 0.1);
  // These rows touch few pages of the mapped embeddings, which the shapes count whole.
  EXPECT_NEAR(estimated.at("peak_bytes").get<double>() / peak, 1, 0.2);
  EXPECT_NEAR(estimated.at("activation_bytes").get<double>() / measured.at("activation_bytes").get<double>(), 1, 0.2);
  EXPECT_GT(measured.at("seconds_per_step"), 0);
  EXPECT_TRUE(estimated.at("seconds_per_step").is_null());
}

}  // namespace
