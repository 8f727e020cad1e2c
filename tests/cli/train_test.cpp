// Training through the binary, on MiniLM and movie reviews: kills, resumes, and the commands that use what was trained.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>

#include "cli/program.h"
#include "loaders/temporary_directory.h"

namespace {

namespace fs = std::filesystem;
using mora::test::content;

const fs::path source = MORA_SOURCE_DIR;
const std::string minilm = (source / ".cache/models/minilm").string();

struct TrainCommand : ::testing::Test {
  static void SetUpTestSuite() { ASSERT_TRUE(fs::exists(minilm)) << "run tools/fetch.sh first"; }
  mora::test::TemporaryDirectory directory;

  struct Result {
    int code;
    std::string out, err;
    nlohmann::json json() const { return nlohmann::json::parse(out.substr(out.rfind('\n', out.size() - 2) + 1)); }
  };
  pid_t start(std::vector<std::string> words) const {
    return mora::test::start_mora(std::move(words), "/dev/null", directory / "out.txt", directory / "err.txt");
  }
  Result mora(std::vector<std::string> words) const {
    const int code = mora::test::exit_code(start(std::move(words)));
    return {code, content(directory / "out.txt"), content(directory / "err.txt")};
  }
  std::string config(const std::string& run, const std::string& more) const {
    return directory
        .write(run + ".yaml", "model: " + minilm +
                                  "\ndata: {train: " + (source / ".cache/data/reviews.train.tsv").string() +
                                  "}\nout: " + (directory / run).string() + "\n" + more)
        .string();
  }
  std::vector<nlohmann::json> metrics(const std::string& run) const {
    std::ifstream lines(directory / run / "metrics.jsonl");
    std::vector<nlohmann::json> result;
    for (std::string line; std::getline(lines, line);) result.push_back(nlohmann::json::parse(line));
    return result;
  }
};

// Killed again and again while it trains, a run ends as if nothing had been.
struct KilledRun : TrainCommand {
  void expect_resumes_to_the_bit(const std::string& settings) const {
    ASSERT_EQ(mora({"train", config("whole", settings), "--quiet"}).code, 0) << content(directory / "err.txt");
    const std::string killed = config("killed", settings);
    int kills = 0;
    for (int wait_ms = 400; wait_ms < 4000; wait_ms += 170) {
      std::vector<std::string> words = {"train", killed, "--quiet"};
      if (fs::exists(directory / "killed")) words.push_back("--resume");
      const pid_t child = start(std::move(words));
      std::this_thread::sleep_for(std::chrono::milliseconds(wait_ms));
      kill(child, SIGKILL);
      const int code = mora::test::exit_code(child);
      kills += code == -SIGKILL;
      ASSERT_TRUE(code == -SIGKILL || code == 0) << content(directory / "err.txt");
      if (code == 0) break;
    }
    EXPECT_GT(kills, 0);
    ASSERT_EQ(mora({"train", killed, "--quiet", "--resume"}).code, 0) << content(directory / "err.txt");
    EXPECT_EQ(content(directory / "killed/adapter/adapter.safetensors"),
              content(directory / "whole/adapter/adapter.safetensors"));
    const auto a = metrics("whole"), b = metrics("killed");
    ASSERT_EQ(a.size(), b.size());
    for (size_t i = 0; i < a.size(); ++i) {
      EXPECT_EQ(a[i]["step"], b[i]["step"]) << i;
      EXPECT_EQ(a[i].value("loss", 0.0), b[i].value("loss", 0.0)) << "update " << a[i]["step"];
      EXPECT_EQ(a[i].value("event", nlohmann::json()), b[i].value("event", nlohmann::json())) << a[i]["step"];
    }
  }
};

TEST_F(KilledRun, WithAFixedRank) {
  expect_resumes_to_the_bit(
      "adapter: {kind: mora, rank: 2, operator: sharing}\n"
      "train: {steps: 24, epochs: null, batch_size: 2, eval_every: null, save_every: 1}\n");
}

TEST_F(KilledRun, BetweenRankEvents) {
  expect_resumes_to_the_bit(
      "adapter: {kind: adalora, rank: 6, adapt: {budget: 2, start: 1, end: 20, interval: 3, rewarm: 2}}\n"
      "train: {steps: 24, epochs: null, batch_size: 2, eval_every: null, save_every: 1}\n");
}

TEST_F(TrainCommand, SigtermCheckpointsAndSaysHowToGoOn) {
  const std::string path =
      config("run", "train: {steps: 100000, epochs: null, batch_size: 2, eval_every: null, save_every: null}\n");
  const pid_t child = start({"train", path});
  while (metrics("run").empty()) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  kill(child, SIGTERM);
  EXPECT_EQ(mora::test::exit_code(child), 143);
  EXPECT_NE(content(directory / "err.txt").find("go on with: mora train " + path + " --resume"), std::string::npos)
      << content(directory / "err.txt");
  EXPECT_FALSE(fs::is_empty(directory / "run/checkpoints"));
}

TEST_F(TrainCommand, WhatWasTrainedIsUsedByTheOtherCommands) {
  const std::string data =
      directory.write("data.tsv", "text\tlabel\nA great film.\tgood\nA dull, awful film.\tbad\n").string();
  const std::string path = directory
                               .write("run.yaml", "model: " + minilm + "\ndata: {train: " + data + ", valid: " + data +
                                                      "}\nout: " + (directory / "run").string() +
                                                      "\noptimizer: {lr: 1e-2}\nschedule: {kind: constant}\ntrain: "
                                                      "{steps: 20, epochs: null, batch_size: 2}\n")
                               .string();
  const Result trained = mora({"train", path, "--json", "--quiet"});
  ASSERT_EQ(trained.code, 0) << trained.err;
  for (const char* key : {"out", "steps", "epochs", "seconds", "tokens", "tokens_per_second", "train_loss", "valid",
                          "trainable_parameters", "total_parameters", "peak_memory_bytes"}) {
    EXPECT_TRUE(trained.json().contains(key)) << key;
  }
  EXPECT_EQ(trained.json()["valid"]["accuracy"], 1.0);
  EXPECT_EQ(trained.json()["total_parameters"].get<int64_t>() - trained.json()["trainable_parameters"].get<int64_t>(),
            22'713'216);  // MiniLM's own
  const std::string adapter = (directory / "run/adapter").string();

  const Result evaluated =
      mora({"eval", "--model", minilm, "--adapter", adapter, "--data", data, "--task", "classification", "--json"});
  ASSERT_EQ(evaluated.code, 0) << evaluated.err;
  for (const char* key : {"loss", "accuracy", "f1_macro", "f1_weighted", "mcc", "roc_auc", "confusion"})
    EXPECT_TRUE(evaluated.json().contains(key)) << key;
  EXPECT_NEAR(evaluated.json()["loss"].get<double>(), trained.json()["valid"]["loss"].get<double>(), 1e-6);

  const std::string out = (directory / "predictions.jsonl").string();
  ASSERT_EQ(mora({"predict", "--model", minilm, "--adapter", adapter, "--data", data, "--out", out}).code, 0);
  const std::string lines = content(out);
  const auto first = nlohmann::json::parse(lines.substr(0, lines.find('\n')));
  EXPECT_EQ(first["label"], "good");
  EXPECT_NEAR(first["scores"]["good"].get<double>() + first["scores"]["bad"].get<double>(), 1, 1e-9);

  for (const char* what : {"hidden", "embedding", "logits"}) {
    const std::string file = (directory / (std::string(what) + ".safetensors")).string();
    ASSERT_EQ(
        mora({"forward", "--model", minilm, "--adapter", adapter, "--data", data, "--what", what, "--out", file}).code,
        0)
        << content(directory / "err.txt");
    const Result inspected = mora({"inspect", file, "--json"});
    ASSERT_EQ(inspected.code, 0);
    ASSERT_EQ(inspected.json()["tensors"].size(), 2u);
    const auto shape = inspected.json()["tensors"][0]["shape"];
    EXPECT_EQ(shape.back(), std::string(what) == "logits" ? 2 : 384);
    EXPECT_EQ(shape.size(), std::string(what) == "hidden" ? 2u : 1u);
  }
}

struct WrongUse {
  std::string settings, message;
};

TEST_F(TrainCommand, EachWrongConfigurationIsOneLineThatNamesTheFix) {
  const std::string empty = directory.write("empty.tsv", "text\tlabel\n").string(),
                    one = directory.write("one.tsv", "text\tlabel\nA film.\tgood\n").string(),
                    other = directory.write("other.tsv", "text\tlabel\nA film.\tgood\nB film.\tbad\nC film.\tfair\n")
                                .string();
  const WrongUse cases[] = {
      {"adapter: {targets: [qeury]}\n",
       "adapter.targets: 'qeury' matches no linear of this bert model; did you mean 'query'?"},
      {"adapter: {rank: 0}\n", "adapter.rank"},
      {"task: causal_lm\n", "which has no language-model head"},
      {"head: {pooling: middle}\n", "head.pooling"},
      {"adapter: {init_from: " + directory.path().string() + "}\n",
       "no adapter here: neither mora_config.json nor adapter_config.json"},
      {"train: {precision: f16}\n", "train.precision: f16: not supported"},
  };
  for (const WrongUse& wrong : cases) {
    const Result result = mora({"train", config("wrong", wrong.settings)});
    EXPECT_EQ(result.code, 1) << wrong.settings;
    EXPECT_NE(result.err.find(wrong.message), std::string::npos) << wrong.settings << result.err;
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
    EXPECT_FALSE(fs::exists(directory / "wrong")) << wrong.settings;
  }
  const std::pair<std::string, std::string> files[] = {
      {empty, "no rows"}, {one, "one label ('good')"}, {(directory / "none.tsv").string(), "none.tsv"}};
  for (const auto& [file, message] : files) {
    const Result result = mora({"train", config("wrong", ""), "data.train=" + file});
    EXPECT_EQ(result.code, 1);
    EXPECT_NE(result.err.find(message), std::string::npos) << result.err;
  }
  const Result unseen =
      mora({"train", config("wrong", ""),
            "data.train=" + directory.write("two.tsv", "text\tlabel\nA film.\tgood\nB film.\tbad\n").string(),
            "data.valid=" + other});
  EXPECT_EQ(unseen.code, 1);
  EXPECT_NE(unseen.err.find("'fair'"), std::string::npos) << unseen.err;
}

TEST_F(TrainCommand, SharpnessLooksAroundAnAdapter) {
  ASSERT_EQ(mora({"train",
                  config("run",
                         "adapter: {kind: lora, rank: 2}\noptimizer: {kind: lars, lr: 0.1, sam: {kind: sam}}\n"
                         "train: {steps: 2, epochs: null, batch_size: 4, recompute: true, eval_every: null, "
                         "save_every: null}\n"),
                  "--quiet"})
                .code,
            0);
  const Result result = mora({"sharpness", "--model", minilm, "--adapter", (directory / "run/adapter").string(),
                              "--data", (source / ".cache/data/reviews.valid.tsv").string(), "--task", "classification",
                              "--rows", "8", "--iterations", "3", "--points", "3", "--json"});
  ASSERT_EQ(result.code, 0) << result.err;
  const nlohmann::json json = result.json();
  EXPECT_EQ(json["rows"], 8);
  EXPECT_EQ(json["iterations"], 3);
  EXPECT_GE(json["top_eigenvalue"], json["bottom_eigenvalue"]);
  ASSERT_EQ(json["curve"].size(), 3u);
  EXPECT_NEAR(json["curve"][1]["loss"].get<double>(), json["loss"].get<double>(), 1e-6);
}

TEST_F(TrainCommand, AMetaTrainedStartIsAdaptedInAFewUpdates) {
  const std::string valid = (source / ".cache/data/products.valid.tsv").string();
  const std::string meta =
      directory
          .write("meta.yaml", "model: " + minilm + "\ntasks: [{name: products, data: {train: " + valid +
                                  "}}]\nmeta: {kind: anil, inner_lr: 0.1, shots: 2, queries: 2, "
                                  "tasks_per_step: 1}\nadapter: {rank: 2}\n"
                                  "train: {steps: 2, epochs: null}\nout: " +
                                  (directory / "meta").string() + "\n")
          .string();
  const Result trained = mora({"meta-train", meta, "--quiet", "--json"});
  ASSERT_EQ(trained.code, 0) << trained.err;
  EXPECT_EQ(trained.json()["steps"], 2);
  EXPECT_EQ(metrics("meta").size(), 2u);
  const std::string rows =
      directory.write("rows.tsv", "text\tlabel\nfine\tgood\nawful\tbad\nlovely\tgood\nboring\tbad\n").string();
  const Result adapted = mora({"adapt", "--meta", (directory / "meta").string(), "--data", rows, "--out",
                               (directory / "new").string(), "--steps", "3", "--json"});
  ASSERT_EQ(adapted.code, 0) << adapted.err;
  EXPECT_EQ(adapted.json()["steps"], 3);
  ASSERT_EQ(mora({"predict", "--model", minilm, "--adapter", (directory / "new/adapter").string(), "--data", rows,
                  "--out", (directory / "predicted.jsonl").string()})
                .code,
            0);
  EXPECT_NE(content(directory / "predicted.jsonl").find("\"good\""), std::string::npos);
  EXPECT_EQ(mora({"train", meta, "--quiet"}).code, 1);
}

}  // namespace
