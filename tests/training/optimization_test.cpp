// Optimizers, SAM and recomputation in the trainer, on MiniLM and movie reviews.
#include <gtest/gtest.h>

#include <cmath>
#include <csignal>
#include <fstream>
#include <nlohmann/json.hpp>

#include "loaders/json.h"
#include "loaders/temporary_directory.h"
#include "mora/training/memory_plan.h"
#include "mora/training/trainer.h"

namespace mora {
namespace {

namespace fs = std::filesystem;
const fs::path source = MORA_SOURCE_DIR;
const std::string minilm = (source / ".cache/models/minilm").string();
const std::string reviews = (source / ".cache/data/reviews.train.tsv").string();

struct OptimizationTest : ::testing::Test {
  static void SetUpTestSuite() { ASSERT_TRUE(fs::exists(minilm) && fs::exists(reviews)) << "run tools/fetch.sh first"; }
  test::TemporaryDirectory directory;

  Config config(const std::string& run, const std::string& more) const {
    return parse_config("model: " + minilm + "\ndata: {train: " + reviews +
                            ", shuffle: false}\nout: " + (directory / run).string() + "\n" + more,
                        "test.yaml");
  }
  std::vector<nlohmann::json> metrics(const std::string& run) const {
    std::ifstream lines(directory / run / "metrics.jsonl");
    std::vector<nlohmann::json> result;
    for (std::string line; std::getline(lines, line);) result.push_back(nlohmann::json::parse(line));
    return result;
  }
  std::vector<nlohmann::json> trained(const std::string& run, const std::string& more) const {
    train(config(run, more), {.quiet = true});
    return metrics(run);
  }
  std::string adapter(const std::string& run) const {
    return test::read_bytes(directory / run / "adapter" / "adapter.safetensors");
  }
};

constexpr const char* small = ", epochs: null, eval_every: null, save_every: null}\nschedule: {kind: constant}\n";
std::string steps(int n, const std::string& more) { return fmt::format("train: {{steps: {}{}{}", n, more, small); }

void expect_same_course(const std::vector<nlohmann::json>& a, const std::vector<nlohmann::json>& b, double tolerance) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i)
    for (const char* key : {"loss", "grad_norm"})
      EXPECT_NEAR(a[i][key].get<double>() / b[i][key].get<double>(), 1, tolerance) << key << " of update " << i;
}

// The perturbation is by the gradient of the whole update, and so is the second pass.
TEST_F(OptimizationTest, SamOfFourMicroBatchesIsSamOfTheOneBatch) {
  const std::string sam = "adapter: {rank: 2}\noptimizer: {sam: {kind: sam, rho: 0.2}}\n";
  const auto one = trained("one", sam + steps(4, ", batch_size: 8"));
  const auto four = trained("four", sam + steps(4, ", batch_size: 2, accumulate: 4"));
  expect_same_course(one, four, 2e-4);
}

// A perturbation of almost nothing leaves the gradient as it was, as long as the second pass drops the same units.
TEST_F(OptimizationTest, BothPassesDropTheSameUnits) {
  const std::string settings = "adapter: {rank: 2, dropout: 0.5}\n" + steps(4, ", batch_size: 4, accumulate: 2");
  const auto plain = trained("plain", settings);
  expect_same_course(trained("sam", settings + "optimizer: {sam: {kind: sam, rho: 1e-9}}\n"), plain, 1e-4);
  const auto sam = trained("far", settings + "optimizer: {sam: {kind: sam, rho: 0.5}}\n");
  EXPECT_NE(sam[0]["grad_norm"], plain[0]["grad_norm"]);
  EXPECT_EQ(sam.back()["tokens"], plain.back()["tokens"]);
}

TEST_F(OptimizationTest, AnOverflowNearbyCountsOneSkipAndChangesNothing) {
  trained("start", "adapter: {kind: lora, rank: 2}\noptimizer: {lr: 0}\n" + steps(1, ", batch_size: 2"));
  const auto lines = trained("skipping",
                             "adapter: {kind: lora, rank: 2}\n"
                             "optimizer: {sam: {kind: sam, rho: 1e38}}\n" +
                                 steps(3, ", batch_size: 2"));
  ASSERT_EQ(lines.size(), 3u);
  for (const auto& line : lines) EXPECT_EQ(line["event"]["kind"], "skipped_update") << line;
  EXPECT_EQ(adapter("skipping"), adapter("start"));
}

// A regression on targets so far away that the scaled gradients leave f16: the scale is halved until they fit.
TEST_F(OptimizationTest, F16HalvesItsScaleUntilGradientsFit) {
  {
    std::ofstream rows(directory / "far.tsv");
    rows << "text\tlabel\n";
    for (int i = 0; i < 4; ++i) rows << "row number " << i << "\t300\n";
  }
  for (const std::string& sam : {std::string(), std::string("sam: {kind: sam, rho: 0.01}, ")}) {
    const std::string run = sam.empty() ? "plain" : "sam";
    Config c = config(run, "task: regression\nadapter: {kind: lora, rank: 2}\noptimizer: {" + sam + "lr: 1e-3}\n" +
                               "train: {steps: 12, epochs: null, batch_size: 4, precision: f16, eval_every: null, "
                               "save_every: null}\nschedule: {kind: linear, warmup: 2}\n");
    c.data->train = {(directory / "far.tsv").string()};
    Config half = c;
    half.out = (directory / (run + "-resumed")).string();
    train(c, {.quiet = true});
    double scale = 65536;
    int skipped = 0, applied = 0;
    for (const auto& line : metrics(run)) {
      if (line.contains("event")) {
        EXPECT_EQ(line["event"]["kind"], "skipped_update");
        scale /= 2;
        ++skipped;
      } else {
        EXPECT_EQ(line["loss_scale"].get<double>(), scale);
        EXPECT_EQ(line["lr"] == 0.0, applied++ == 0) << "the schedule counts what is applied";
      }
    }
    EXPECT_GT(skipped, 0);
    EXPECT_LT(skipped, 10);

    std::atomic<int> signal{SIGTERM};  // in the midst of what is skipped
    train(half, {.quiet = true, .signal = &signal});
    train(half, {.resume = true, .quiet = true});
    EXPECT_EQ(adapter(run + "-resumed"), adapter(run));
  }
}

TEST_F(OptimizationTest, AnOverflowOfSamsSecondPassHalvesTheScaleOnce) {
  trained("start", "adapter: {kind: lora, rank: 2}\noptimizer: {lr: 0}\n" + steps(1, ", batch_size: 2"));
  trained("f16", "adapter: {kind: lora, rank: 2}\noptimizer: {sam: {kind: sam, rho: 1e38}}\n" +
                     steps(3, ", batch_size: 2, precision: f16"));
  const auto lines = metrics("f16");
  ASSERT_EQ(lines.size(), 3u);
  for (const auto& line : lines) EXPECT_EQ(line["event"]["kind"], "skipped_update") << line;
  EXPECT_EQ(adapter("f16"), adapter("start"));
  const nlohmann::json state = read_json(directory / "f16" / "checkpoints" / "step-000003" / "state.json");
  EXPECT_EQ(state["loss_scale"].get<double>(), 65536.0 / 8);
}

// The targets of the rows from the 25th on are a hundred times the first ones', so the loss is ten thousand times.
TEST_F(OptimizationTest, AnExplodedRunStopsWithTheCheckpointFromBefore) {
  std::string rows = "text\tlabel\n";
  for (int i = 0; i < 40; ++i) rows += fmt::format("Film {}\t{}\n", i, i < 24 ? 1 : 100);
  Config c = config("run",
                    "task: regression\nadapter: {kind: lora, rank: 2}\noptimizer: {lr: 1e-6}\ntrain: {steps: 40, "
                    "epochs: null, batch_size: 1, eval_every: null, save_every: 1, max_skipped: 3}\n");
  c.data->train = {directory.write("rows.tsv", rows).string()};
  const std::string message = test::error_of<Error>([&] { train(c, {.quiet = true}); });
  EXPECT_NE(message.find("the loss exploded"), std::string::npos) << message;
  EXPECT_EQ(metrics("run").back()["event"]["kind"], "loss_spike");
  EXPECT_EQ(metrics("run").back()["event"]["spikes"], 3);
  EXPECT_EQ(metrics("run").back()["step"], 27);
  EXPECT_TRUE(fs::exists(directory / "run/checkpoints/step-000024"));
  EXPECT_FALSE(fs::exists(directory / "run/checkpoints/step-000025"));
}

TEST_F(OptimizationTest, LookSamAroundLarsResumesToTheBit) {
  const std::string settings =
      "adapter: {rank: 2, dropout: 0.1}\n"
      "optimizer: {kind: lars, lr: 0.5, larc: true, sam: {kind: looksam, interval: 3}}\n" +
      steps(8, ", batch_size: 4");
  trained("whole", settings);
  std::atomic<int> signal{SIGTERM};
  const Config parts = config("parts", settings);
  train(parts, {.quiet = true, .signal = &signal});
  for (int step = 2; step <= 8; step += 3) {
    signal = step < 8 ? SIGTERM : 0;
    train(parts, {.resume = true, .quiet = true, .signal = &signal});
  }
  train(parts, {.resume = true, .quiet = true});
  EXPECT_EQ(adapter("parts"), adapter("whole"));
}

TEST_F(OptimizationTest, RecomputationTrainsToTheSameBits) {
  const std::string settings = "adapter: {rank: 2, dropout: 0.1}\noptimizer: {sam: {kind: asam}}\n";
  trained("kept", settings + steps(3, ", batch_size: 4"));
  trained("again", settings + steps(3, ", batch_size: 4, recompute: true"));
  EXPECT_EQ(adapter("again"), adapter("kept"));
}

TEST_F(OptimizationTest, ThePlanKnowsRecomputationAndTheOptimizersCopies) {
  const auto plan = [&](const std::string& more, bool measure) {
    return plan_memory(config("plan", "adapter: {rank: 2}\n" + more), measure);
  };
  for (bool measure : {false, true}) {
    const MemoryPlan kept = plan(steps(1, ", batch_size: 16"), measure);
    const MemoryPlan again = plan(steps(1, ", batch_size: 16, recompute: true"), measure);
    EXPECT_LT(again.activation_bytes, kept.activation_bytes * 3 / 4) << "measured: " << measure;
    if (!measure) {  // measured, the peak is the process's own, the plan before included
      EXPECT_LT(again.peak_bytes, kept.peak_bytes);
    }
  }
  const std::string batch = steps(1, ", batch_size: 2");
  const int64_t adamw = plan(batch, false).optimizer_bytes, trained_bytes = adamw / 3;
  EXPECT_EQ(plan("optimizer: {kind: lamb}\n" + batch, false).optimizer_bytes, adamw);
  EXPECT_EQ(plan("optimizer: {kind: lars}\n" + batch, false).optimizer_bytes, adamw - trained_bytes);
  EXPECT_EQ(plan("optimizer: {amsgrad: true}\n" + batch, false).optimizer_bytes, adamw + trained_bytes);
  const std::string adapt = "adapter: {kind: adalora, rank: 2, adapt: {budget: 1, importance: ";
  EXPECT_EQ(plan_memory(config("plan", adapt + "sensitivity}}\n" + batch), false).optimizer_bytes * 3,
            plan_memory(config("plan", adapt + "gradient}}\n" + batch), false).optimizer_bytes * 5);
  EXPECT_EQ(plan("optimizer: {sam: {kind: looksam}}\n" + batch, false).optimizer_bytes, adamw + 3 * trained_bytes);
}

}  // namespace
}  // namespace mora
