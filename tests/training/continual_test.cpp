// Continual runs: what protects earlier tasks, what is measured, and resuming anywhere in the sequence.
#include "mora/training/continual.h"

#include <cmath>
#include <csignal>
#include <fstream>

#include "autograd/ops/arithmetic.h"
#include "autograd/ops/elementary.h"
#include "autograd/ops/reduce.h"
#include "mora/adapters/lora.h"
#include "mora/adapters/mora.h"
#include "training/trainer_fixture.h"

namespace mora {
namespace {

TEST(AccuracyMatrix, AverageAndBackwardTransferAreThePapers) {
  const AccuracyMatrix m{.tasks = {"a", "b", "c"}, .rows = {{0.9, 0.5, 0.4}, {0.7, 0.8, 0.5}, {0.6, 0.7, 0.9}}};
  EXPECT_NEAR(m.average(), (0.6 + 0.7 + 0.9) / 3, 1e-15);
  EXPECT_NEAR(m.backward_transfer(), ((0.6 - 0.9) + (0.7 - 0.8)) / 2, 1e-15);
  EXPECT_EQ((AccuracyMatrix{.tasks = {"a"}, .rows = {{0.9}}}.backward_transfer()), 0);
}

TEST(Reservoir, IsBoundedAndUniform) {
  const std::vector<int64_t> rows = {60, 30, 10};
  EXPECT_EQ(reservoir(rows, 1000, 0).size(), 100u);
  EXPECT_EQ(reservoir(rows, 7, 3), reservoir(rows, 7, 3));
  std::vector<double> kept(3);
  constexpr int draws = 2000;
  for (uint64_t seed = 0; seed < draws; ++seed) {
    const auto sample = reservoir(rows, 10, seed);
    ASSERT_EQ(sample.size(), 10u);
    for (const TaskRow& r : sample) {
      ASSERT_LT(r.row, rows[size_t(r.task)]);
      kept[size_t(r.task)] += 1;
    }
  }
  for (size_t task = 0; task < rows.size(); ++task)  // each row with probability 10/100
    EXPECT_NEAR(kept[task] / draws, double(rows[task]) / 10, 0.15) << "task " << task;
}

// Rows with gradients g_1, g_2: F is the mean of squares, not the square of the mean; two tasks add their quadratics.
TEST(ElasticWeights, TheFisherInformationIsPerRowAndTasksAddUp) {
  const Tensor theta = leaf(Tensor::from(std::vector<float>{1, -2}, {2}));
  std::vector<Parameter> parameters{{.name = "w", .value = theta}};
  ElasticWeights elastic(3);
  EXPECT_FALSE(elastic.penalty(parameters).defined());
  const std::vector<std::vector<float>> rows = {{2, 0}, {-2, 4}};  // their mean is (0, 2)
  auto first = [&](int64_t row) { return Tensors{Tensor::from(rows[size_t(row)], {2})}; };
  elastic.consolidate(parameters, 2, first);  // F = (4, 8) at (1, −2)
  Tensor live = theta;
  live.mutable_data<float>()[0] = 5;
  auto second = [&](int64_t) { return Tensors{Tensor::from(std::vector<float>{1, 0}, {2})}; };
  elastic.consolidate(parameters, 1, second);  // F = (1, 0) at (5, −2)
  live.mutable_data<float>()[0] = 2;
  live.mutable_data<float>()[1] = 0;

  auto check = [&](const ElasticWeights& e) {
    const Tensor penalty = e.penalty(parameters);
    const Tensors gradient = grad(penalty, Tensors{theta});
    EXPECT_NEAR(gradient[0].data<float>()[0], 3 * (4 * (2 - 1) + 1 * (2 - 5)), 1e-5);
    EXPECT_NEAR(gradient[0].data<float>()[1], 3 * 8 * (0 + 2), 1e-5);
  };
  check(elastic);
  ElasticWeights restored(3);
  const std::vector<NamedTensor> state = elastic.state(parameters);
  restored.load_state(parameters, state);
  check(restored);
  EXPECT_THROW(restored.load_state(parameters, std::span(state).first(1)), IoError);
}

struct Continual : test::TrainerFixture {
  // The first rows of two domains, as files of their own.
  void SetUp() override {
    for (const char* name : {"reviews", "products"}) {
      std::ifstream from(test::source / ".cache/data" / (std::string(name) + ".train.tsv"));
      std::ofstream to(directory / (std::string(name) + ".tsv"));
      std::string line;
      for (int i = 0; i < 17 && std::getline(from, line); ++i) to << line << "\n";
    }
  }
  Config config(const std::string& run, const std::string& kind, const std::string& adapter,
                const std::string& more = "") const {
    std::string text = "model: " + test::minilm + "\nhead: {pooling: mean}\ntasks:\n";
    for (const char* name : {"reviews", "products"}) {
      const std::string file = (directory / (std::string(name) + ".tsv")).string();
      text += fmt::format("  - {{name: {}, data: {{train: {}, valid: {}}}}}\n", name, file, file);
    }
    return parse_config(text + "continual: " + kind + "\nadapter: " + adapter +
                            "\noptimizer: {lr: 5e-3, weight_decay: 0.1}\ntrain: {steps: 4, epochs: null, batch_size: "
                            "4, eval_every: null, save_every: 2}\nout: " +
                            (directory / run).string() + "\n" + more,
                        "test.yaml");
  }
  // The tensors of the adapter that a run left.
  std::map<std::string, Tensor> adapter(const std::string& run) const {
    MoRAModel model(load_model(test::minilm));
    load_adapter(directory / run / "adapter", model);
    std::map<std::string, Tensor> tensors;
    auto keep = [&](const std::string& name, Tensor& value) { tensors[name] = value; };
    model.visit_parameters(keep);
    model.visit_constants(keep);
    return tensors;
  }
};

TEST_F(Continual, ARunMeasuresEveryTaskAfterEach) {
  const TrainResult result = train(config("run", "{kind: replay, buffer: 5}", "{rank: 2}"), {.quiet = true});
  EXPECT_EQ(result.steps, 8);
  ASSERT_TRUE(result.continual.has_value());
  ASSERT_EQ(result.continual->rows.size(), 2u);
  std::vector<nlohmann::json> ends;
  nlohmann::json matrix;
  int64_t tokens_before_replay = 0, tokens = 0;
  for (const auto& line : metrics("run")) {
    if (line.contains("event")) ends.push_back(line["event"]);
    if (line.contains("continual")) matrix = line["continual"];
    if (line.contains("loss")) (line["step"] <= 4 ? tokens_before_replay : tokens) = line["tokens"].get<int64_t>();
  }
  ASSERT_EQ(ends.size(), 2u);
  EXPECT_EQ(ends[0]["task"], "reviews");
  EXPECT_EQ(ends[1]["accuracy"]["products"].get<double>(), result.continual->rows[1][1]);
  EXPECT_EQ(matrix["tasks"], nlohmann::json({"reviews", "products"}));
  EXPECT_EQ(matrix["average_accuracy"].get<double>(), result.continual->average());
  const TrainResult alone = train(config("alone", "{kind: sequential}", "{rank: 2}"), {.quiet = true});
  EXPECT_GT(tokens, alone.tokens);  // earlier rows were seen again
  EXPECT_GT(tokens_before_replay, 0);
}

TEST_F(Continual, ALoRAsEarlierComponentsStayToTheBit) {
  const std::string lora = "{kind: lora, rank: 2}";
  train(config("one", "{kind: olora}", lora), {.quiet = true});
  // The same first task: what it learned is where the two-task run's components begin.
  Config first = config("first", "{kind: olora}", lora);
  first.tasks.pop_back();
  train(first, {.quiet = true});
  const auto both = adapter("one"), only = adapter("first");
  int compared = 0;
  for (const auto& [name, value] : only) {
    const auto dim = component_dimension(name);
    if (!dim) continue;
    const Tensor& grown = both.at(name);
    ASSERT_EQ(grown.dim(*dim), 4);
    const Tensor past = select_components(grown, *dim, std::vector<int64_t>{0, 1}, 0);
    const auto a = past.values<float>(), b = value.values<float>();
    EXPECT_TRUE(std::equal(a.begin(), a.end(), b.begin())) << name;
    ++compared;
  }
  EXPECT_GT(compared, 0);
}

// Σ |A_past·A_newᵀ| of the trained adapter falls with the weight, for LoRA and in MoRA's compressed space.
TEST_F(Continual, TheNewUpdateIsKeptOutOfTheEarlierOnes) {
  for (const std::string kind : {"lora", "mora"}) {
    auto overlap = [&](const std::string& weight) {
      const std::string run = kind + weight;
      Config c = config(run, "{kind: olora, weight: " + weight + "}", "{kind: " + kind + ", rank: 2}");
      c.optimizer.lr = 4e-4;  // small steps: |x| has a corner at its minimum
      c.schedule.kind = ScheduleKind::constant;
      c.train.steps = 12;
      train(c, {.quiet = true});
      MoRAModel model(load_model(test::minilm));
      load_adapter(directory / run / "adapter", model);
      return OrthogonalUpdates(model, 1, 0).penalty().item();
    };
    const double free = overlap("0"), kept = overlap("0.5");
    EXPECT_GT(free, 0) << kind;
    EXPECT_LT(kept, 0.8 * free) << kind;
  }
}

TEST_F(Continual, WhatDoesNotGoTogetherIsRefused) {
  EXPECT_THROW(train(config("dora", "{kind: olora}", "{kind: dora, rank: 2}"), {.quiet = true}), ConfigError);
  EXPECT_FALSE(std::filesystem::exists(directory / "dora" / "metrics.jsonl"));
  EXPECT_THROW(config("w", "{kind: replay, weight: 1}", "{rank: 2}"), ConfigError);
  EXPECT_THROW(config("a", "{kind: ewc}", "{rank: 2, adapt: {budget: 1}}"), ConfigError);
  EXPECT_THROW(config("t", "{kind: ewc}", "{rank: 2}", "task: regression\n"), ConfigError);
}

// Experts that came and went in the first task are no events of the second's schedule.
TEST_F(Continual, EachTasksLearningRateIsThatOfTheFirst) {
  train(config("run", "{kind: sequential}",
               "{rank: 2, targets: [query], experts: {count: 3, routing: dynmoe, interval: 1, max_count: 4}}"),
        {.quiet = true});
  std::vector<nlohmann::json> rates;
  int changes = 0;
  for (const auto& line : metrics("run")) {
    if (line.contains("lr")) rates.push_back(line["lr"]);
    changes += line["step"] <= 4 && line.contains("event") && line["event"]["kind"] == "experts";
  }
  ASSERT_EQ(rates.size(), 8U);
  EXPECT_GT(changes, 0);
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(rates[i + 4], rates[i]) << i;
}

struct ResumedContinual : Continual, ::testing::WithParamInterface<const char*> {};

TEST_P(ResumedContinual, StoppedAfterEachUpdateItIsTheSameToTheBit) {
  const std::string kind = GetParam();
  const std::string lora = kind == "olora" ? "{kind: lora, rank: 2, dropout: 0.1}" : "{rank: 2, dropout: 0.1}";
  const TrainResult whole = train(config("whole", "{kind: " + kind + "}", lora), {.quiet = true});
  const Config parts = config("parts", "{kind: " + kind + "}", lora);
  TrainResult last;
  for (int step = 1; step <= 9; ++step) {
    std::atomic<int> signal{step < 9 ? SIGTERM : 0};
    last = train(parts, {.resume = step > 1, .quiet = true, .signal = &signal});
  }
  EXPECT_EQ(adapter_bytes(directory / "parts"), adapter_bytes(directory / "whole"));
  ASSERT_TRUE(last.continual.has_value());
  EXPECT_EQ(last.continual->rows, whole.continual->rows);
  const auto a = metrics("whole"), b = metrics("parts");
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].value("loss", 0.0), b[i].value("loss", 0.0)) << i;
    EXPECT_EQ(a[i].value("event", nlohmann::json()), b[i].value("event", nlohmann::json())) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, ResumedContinual, ::testing::Values("sequential", "ewc", "olora", "replay"),
                         [](const auto& kind) { return std::string(kind.param); });

}  // namespace
}  // namespace mora
