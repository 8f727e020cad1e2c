// Training through the binary, on MiniLM and movie reviews: kills, resumes, and the commands that use what was trained.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <random>
#include <set>
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
  template <class Condition>
  static void wait_for(Condition holds) {
    for (int i = 0; i < 30000 && !holds(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    ASSERT_TRUE(holds());
  }
};

// Killed again and again while it trains, a run ends as if nothing had been. MORA_TEST_KILLS asks for so many kills, in
// as many runs as they take; without it one run is killed until it ends or ten seconds have passed.
struct KilledRun : TrainCommand {
  void expect_resumes_to_the_bit(const std::string& settings) const {
    using Clock = std::chrono::steady_clock;
    const auto start = Clock::now();
    ASSERT_EQ(mora({"train", config("whole", settings), "--quiet"}).code, 0) << content(directory / "err.txt");
    const auto began = Clock::now();
    const auto whole = std::chrono::duration_cast<std::chrono::milliseconds>(began - start);
    const char* asked = std::getenv("MORA_TEST_KILLS");
    const int wanted = asked ? std::atoi(asked) : 10;
    std::mt19937 random(1);
    int kills = 0;
    do {
      fs::remove_all(directory / "killed");
      while (kills < wanted && (asked || kills == 0 || Clock::now() - began < std::chrono::seconds(10)) &&
             killed_after(whole * (random() % 1000) / 1000, config("killed", settings)))
        ++kills;
      const auto rest = resume(config("killed", settings));
      ASSERT_EQ(mora(rest).code, 0) << content(directory / "err.txt");
      expect_equal_runs();
    } while (kills < (asked ? wanted : 1) && !HasFailure());
    RecordProperty("kills", kills);
  }
  // Killed once between each two rank events, when there is a checkpoint of what the first one left.
  void expect_resumes_between_events(const std::string& settings) const {
    ASSERT_EQ(mora({"train", config("whole", settings), "--quiet"}).code, 0) << content(directory / "err.txt");
    const std::vector<int64_t> events = event_steps("whole");
    ASSERT_GE(events.size(), 4U);
    const std::string path = config("killed", settings);
    int between = 0;
    for (size_t i = 0; i + 1 < events.size(); ++i) {
      const pid_t child = start(resume(path));
      wait_for([&] { return last_step("killed") > events[i]; });
      kill(child, SIGKILL);
      const int code = mora::test::exit_code(child);
      ASSERT_TRUE(code == -SIGKILL || code == 0) << content(directory / "err.txt");
      between += last_step("killed") < events[i + 1];
    }
    EXPECT_GT(between, 0) << "each kill came too late";
    RecordProperty("kills", between);
    ASSERT_EQ(mora(resume(path)).code, 0) << content(directory / "err.txt");
    expect_equal_runs();
  }

 private:
  std::vector<int64_t> event_steps(const std::string& run) const {
    std::vector<int64_t> steps;
    for (const nlohmann::json& line : metrics(run))
      if (line.contains("event") && line["event"]["kind"] != "ranks") steps.push_back(line["step"]);
    return steps;
  }
  // Of the last whole line there is; 0 before the first.
  int64_t last_step(const std::string& run) const {
    std::error_code none;
    if (!fs::exists(directory / run / "metrics.jsonl", none)) return 0;
    const std::string lines = content(directory / run / "metrics.jsonl");
    const size_t end = lines.rfind('\n');
    if (end == std::string::npos) return 0;
    const size_t begin = lines.rfind('\n', end - 1) + 1;
    return nlohmann::json::parse(lines.substr(begin, end - begin)).at("step");
  }
  std::vector<std::string> resume(const std::string& path) const {
    std::vector<std::string> words = {"train", path, "--quiet"};
    if (fs::exists(directory / "killed")) words.push_back("--resume");
    return words;
  }
  // False where the run came to its end before.
  bool killed_after(std::chrono::milliseconds wait, const std::string& path) const {
    const pid_t child = start(resume(path));
    std::this_thread::sleep_for(wait);
    kill(child, SIGKILL);
    const int code = mora::test::exit_code(child);
    EXPECT_TRUE(code == -SIGKILL || code == 0) << content(directory / "err.txt");
    return code == -SIGKILL;
  }
  void expect_equal_runs() const {
    EXPECT_EQ(content(directory / "killed/adapter/adapter.safetensors"),
              content(directory / "whole/adapter/adapter.safetensors"));
    EXPECT_EQ(without_times("killed"), without_times("whole"));
  }
  std::vector<nlohmann::json> without_times(const std::string& run) const {
    std::vector<nlohmann::json> lines = metrics(run);
    for (nlohmann::json& line : lines)
      for (const char* key : {"seconds", "tokens_per_second"}) line.erase(key);
    return lines;
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

const std::string twenty_four_updates =
    "train: {steps: 24, epochs: null, batch_size: 2, eval_every: null, save_every: 1}\n";

TEST_F(KilledRun, AfterARankEventAndBeforeTheNext) {
  expect_resumes_between_events(
      "adapter: {kind: adalora, rank: 6, targets: [query], adapt: {budget: 2, start: 1, end: 20, interval: 5, rewarm: "
      "2}}\n" +
      twenty_four_updates);
}

TEST_F(KilledRun, AfterAFoldAndBeforeTheNext) {
  expect_resumes_between_events(
      "adapter: {kind: mora, rank: 4, targets: [query], adapt: {budget: 2, start: 1, end: 20, interval: 5}}\n" +
      twenty_four_updates);
}

TEST_F(KilledRun, AfterARestartAndBeforeTheNext) {
  expect_resumes_between_events(
      "adapter: {kind: mora, rank: 4, operator: sharing, targets: [query], restart: {interval: 5, operators: [sharing, "
      "group], rewarm: 2}}\n" +
      twenty_four_updates);
}

TEST_F(KilledRun, WhileExpertsComeAndGoAndTokensHalt) {
  expect_resumes_to_the_bit(
      "adapter: {kind: mora, rank: 2, operator: sharing, targets: [query], act: {max_steps: 3},\n"
      "  experts: {count: 3, routing: dynmoe, interval: 3, max_count: 5}}\n"
      "optimizer: {lr: 1e-2}\n"
      "train: {steps: 24, epochs: null, batch_size: 2, eval_every: null, save_every: 1}\n");
  std::set<nlohmann::json> counts, steps;
  for (const nlohmann::json& line : metrics("killed")) {
    if (line.contains("event")) counts.insert(line["event"].at("experts"));
    if (line.contains("loss")) steps.insert(line.at("act_steps"));
  }
  EXPECT_GT(counts.size(), 1U) << "the number of experts did not change";
  EXPECT_GT(steps.size(), 1U) << "every token took the same steps";
}

// A run without an end of its own, whose first update is done.
struct SignalledRun : TrainCommand {
  std::string path;
  pid_t start_endless() {
    path = config("run", "train: {steps: 100000, epochs: null, batch_size: 2, eval_every: null, save_every: null}\n");
    const pid_t child = start({"train", path});
    wait_for([&] {
      return fs::exists(directory / "run/metrics.jsonl") && !content(directory / "run/metrics.jsonl").empty();
    });
    return child;
  }
  bool has_checkpoint() const {
    std::error_code none;
    for (const auto& entry : fs::directory_iterator(directory / "run/checkpoints", none))
      if (fs::exists(entry.path() / "manifest.json") && entry.path().extension().empty()) return true;
    return false;
  }
};

TEST_F(SignalledRun, Sigusr1CheckpointsAndGoesOnAndSigintEndsIt) {
  const pid_t child = start_endless();
  kill(child, SIGUSR1);
  wait_for([&] { return has_checkpoint(); });
  const size_t lines = content(directory / "run/metrics.jsonl").size();
  wait_for([&] { return content(directory / "run/metrics.jsonl").size() > lines; });
  kill(child, SIGINT);
  EXPECT_EQ(mora::test::exit_code(child), 130);
}

TEST_F(SignalledRun, ASecondSigintStopsAtOnce) {
  path =
      config("run", "train: {steps: 9, epochs: null, batch_size: 256, accumulate: 16}\n");  // an update takes minutes
  const pid_t child = start({"train", path});
  wait_for([&] { return fs::exists(directory / "run/config.yaml"); });
  kill(child, SIGINT);
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  const auto second = std::chrono::steady_clock::now();
  kill(child, SIGINT);
  EXPECT_EQ(mora::test::exit_code(child), 130);
  EXPECT_LT(std::chrono::steady_clock::now() - second, std::chrono::seconds(2));
  EXPECT_FALSE(has_checkpoint());
}

TEST_F(SignalledRun, SigtermCheckpointsAndSaysHowToGoOn) {
  const pid_t child = start_endless();
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
