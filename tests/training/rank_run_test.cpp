// Runs whose ranks change: what they log, what they save, and that they resume to the bit.
#include <csignal>

#include "mora/adapters/mora.h"
#include "mora/training/setup.h"
#include "training/trainer_fixture.h"

namespace mora {
namespace {

const std::string nine_updates = "train: {steps: 9, epochs: null, batch_size: 2, eval_every: null, save_every: 1}\n";

struct RankRun : test::TrainerFixture {
  // The ranks that each event left, from the start of the run on.
  std::vector<std::map<std::string, int64_t>> events(const std::string& run) const {
    std::vector<std::map<std::string, int64_t>> list;
    for (const nlohmann::json& line : metrics(run))
      if (line.contains("event")) list.push_back(line["event"]["ranks"]);
    return list;
  }
};

double mean(const std::map<std::string, int64_t>& ranks) {
  double total = 0;
  for (const auto& [path, rank] : ranks) total += double(rank);
  return total / double(ranks.size());
}

TEST_F(RankRun, AdaLoRAFallsToItsBudgetAndSaysSo) {
  train(config("run",
               "adapter: {kind: adalora, rank: 12, targets: [query, value], adapt: {budget: 4, start: 1, end: "
               "8, interval: 2}}\n" +
                   nine_updates),
        {.quiet = true});
  const auto ranks = events("run");
  ASSERT_EQ(ranks.size(), 5U);  // the start, updates 2, 4, 6 and the end, 8
  EXPECT_EQ(mean(ranks.front()), 12);
  EXPECT_EQ(mean(ranks.back()), 4);
  for (size_t i = 1; i < ranks.size(); ++i)
    for (const auto& [path, rank] : ranks[i]) EXPECT_LE(rank, ranks[i - 1].at(path)) << path;  // no max_rank, no growth
  double before = 12;
  for (const nlohmann::json& line : metrics("run")) {
    if (!line.contains("loss")) continue;
    EXPECT_LE(line["mean_rank"].get<double>(), before);
    before = line["mean_rank"].get<double>();
  }
  MoRAModel model(load_model(test::minilm));
  load_adapter(directory / "run/adapter", model);
  int64_t parameters = 2 * 384 + 2;  // the head's
  for (const auto& [path, linear] : model.adapted()) {
    EXPECT_EQ(linear->layer().rank(), ranks.back().at(path)) << path;
    parameters += linear->layer().rank() * (384 + 384 + 1);
  }
  EXPECT_EQ(model.trainable_parameters(), parameters);
}

TEST_F(RankRun, RanksGrowWhereTheyMatter) {
  train(config("run",
               "adapter: {kind: lora, rank: 2, targets: [query, value], adapt: {budget: 4, start: 1, end: 8, "
               "interval: 2, max_rank: 8}}\n" +
                   nine_updates),
        {.quiet = true});
  const auto ranks = events("run");
  EXPECT_EQ(mean(ranks.front()), 2);
  EXPECT_EQ(mean(ranks.back()), 4);
}

TEST_F(RankRun, RestartsKeepTheirHistoryAndWarmUpAgain) {
  train(config("run",
               "adapter: {kind: mora, rank: 4, operator: sharing, targets: [query], restart: {interval: 2, "
               "operators: [sharing, group], rewarm: 2}}\nschedule: {kind: constant}\n" +
                   nine_updates),
        {.quiet = true});
  std::vector<double> shares;  // of the learning rate
  for (const nlohmann::json& line : metrics("run"))
    if (line.contains("lr")) shares.push_back(line["lr"].get<double>() / 1e-3);
  EXPECT_EQ(shares, (std::vector<double>{1, 1, 0, 0.5, 0, 0.5, 0, 0.5, 0}));  // restarts after updates 2, 4, 6, 8
  MoRAModel model(load_model(test::minilm));
  load_adapter(directory / "run/adapter", model);
  for (const auto& [path, linear] : model.adapted()) {
    const auto& layer = dynamic_cast<const MoRA&>(linear->layer());
    ASSERT_EQ(layer.history().size(), 4U) << path;
    EXPECT_EQ(layer.history()[1].op.kind, kernels::OperatorKind::group) << path;
  }
}

TEST_F(RankRun, AnAdapterThatCannotMoveItsRankIsRefused) {
  const std::string adapt = "adapt: {budget: 2}}\n", lora = "adapter: {kind: lora, rank: 4, ";
  for (const auto& [settings, message] :
       {std::pair(lora + "init: pissa, " + adapt, "adapter.init: 'pissa' does not go with adapt"),
        {lora + "restart: {interval: 2}}\n", "adapter.restart: is for mora, not lora"},
        {lora + "adapt: {budget: 5}}\n", "adapter.adapt.budget: above the largest rank of a layer, 4"},
        {"adapter: {restart: {interval: 2, operators: [group]}}\n", "begins with 'group', adapter.operator is"}}) {
    const std::string error = test::error_of<ConfigError>([&] { config("run", settings); });
    EXPECT_NE(error.find(message), std::string::npos) << error;
  }
}

struct Kind {
  const char *name, *settings;
};
void PrintTo(const Kind& kind, std::ostream* out) { *out << kind.name; }

const Kind kinds[] = {
    {"adalora",
     "adapter: {kind: adalora, rank: 4, dropout: 0.1, targets: [query], adapt: {budget: 2, start: 1, end: 8, interval: "
     "2, rewarm: 1, scale_lr: true}}"},
    {"growing_dora",
     "adapter: {kind: dora, rank: 2, dropout: 0.1, targets: [query], adapt: {budget: 3, start: 1, end: 8, interval: 2, "
     "max_rank: 6, importance: gradient}}"},
    {"mora",
     "adapter: {kind: mora, rank: 4, targets: [query], adapt: {budget: 2, start: 1, end: 8, interval: 2, importance: "
     "norm, scale_lr: true}}"},
    {"remora",
     "adapter: {kind: mora, rank: 4, operator: sharing, dropout: 0.1, targets: [query], restart: {interval: 2, "
     "operators: [sharing, group], rewarm: 1}}"},
    {"pissa", "adapter: {kind: lora, rank: 4, init: pissa, targets: [query]}"},
    {"embedding", "adapter: {kind: lora, rank: 4, dropout: 0.1, targets: [word_embeddings, query]}"},
};

TEST_F(RankRun, AnMThatEndsAtTheSmallerSideIsNoted) {
  const std::string update = "train: {steps: 1, epochs: null, batch_size: 2, eval_every: null, save_every: null}\n";
  const Config c =
      config("run", "adapter: {rank: 256, targets: [query, intermediate.dense], rank_pattern: {query: 8}}\n" + update);
  const std::vector<std::string> note = {
      "note: adapter.rank: the M of 6 modules ends at the smaller side of the weight, as "
      "bert.encoder.layer.0.intermediate.dense, 384 to 1536: side 384, where LoRA's parameters of rank 256 would make "
      "it 701"};
  EXPECT_EQ(set_up(c).notes, note);
  testing::internal::CaptureStderr();
  train(c, {});
  EXPECT_NE(testing::internal::GetCapturedStderr().find(note[0] + "\n"), std::string::npos);
  const std::string saved = (directory / "run/adapter").string();
  EXPECT_TRUE(set_up(config("again", "adapter: {init_from: " + saved + "}\n")).notes.empty());  // it keeps its side
}

struct ResumedRankRun : RankRun, ::testing::WithParamInterface<Kind> {};

TEST_P(ResumedRankRun, StoppedAfterEachUpdateItIsTheSameToTheBit) {
  const std::string settings = GetParam().settings + std::string("\n") + nine_updates;
  train(config("whole", settings), {.quiet = true});
  const Config parts = config("parts", settings);
  for (int update = 1; update <= 9; ++update) {
    std::atomic<int> signal{SIGTERM};
    train(parts, {.resume = update > 1, .quiet = true, .signal = &signal});
  }
  train(parts, {.resume = true, .quiet = true});
  EXPECT_EQ(adapter_bytes(directory / "parts"), adapter_bytes(directory / "whole"));
  const auto a = metrics("whole"), b = metrics("parts");
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i)
    for (const char* key : {"step", "loss", "lr", "grad_norm", "mean_rank", "event"})
      EXPECT_EQ(a[i].value(key, nlohmann::json()), b[i].value(key, nlohmann::json())) << i << " " << key;
}

INSTANTIATE_TEST_SUITE_P(Kinds, ResumedRankRun, ::testing::ValuesIn(kinds),
                         [](const auto& tested) { return std::string(tested.param.name); });

}  // namespace
}  // namespace mora
