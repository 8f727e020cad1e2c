// Batches that are filled up have the losses and gradients of those they were made of.
#include "mora/training/filled_batch.h"

#include "cli/tiny_model.h"
#include "goldens/formula.h"
#include "mora/training/setup.h"

namespace mora::test {
namespace {

TEST(FilledCount, IsRoundAndLittleMore) {
  for (int64_t count = 1; count < 40000; ++count) {
    const int64_t round = filled_count(count);
    ASSERT_EQ(round % 8, 0);
    ASSERT_GE(round, count);
    ASSERT_EQ(filled_count(round), round);
    ASSERT_LT(round - count, std::max<int64_t>(8, count / 16 + 1)) << count;
  }
  EXPECT_EQ(filled_count(1000), 1024);
  EXPECT_EQ(filled_count(1100), 1152);
}

TEST(FilledBatch, HasOneMoreSequenceAndALanguageModelsEmptyOnes) {
  const Example example{.ids = {5, 6, 7}, .type_ids = {0, 1, 1}, .token_labels = {5, 6, 7}, .label = 2, .target = 1.5f};
  const std::array<const Example*, 2> two{&example, &example};
  const std::array<int64_t, 2> rows{40, 41};
  const PackedBatch batch = pack(two, rows);
  const PackedBatch rows_filled = filled(batch, Task::classification), tokens_filled = filled(batch, Task::causal_lm);
  EXPECT_EQ(rows_filled.offsets, (std::vector<int32_t>{0, 3, 6, 8}));
  EXPECT_EQ(rows_filled.labels, (std::vector<int32_t>{2, 2, kIgnoredLabel}));
  EXPECT_EQ(rows_filled.rows, (std::vector<int64_t>{40, 41, -1}));
  EXPECT_EQ(tokens_filled.offsets, (std::vector<int32_t>{0, 3, 6, 8, 8, 8, 8, 8, 8}));
  for (const PackedBatch& b : {rows_filled, tokens_filled}) {
    EXPECT_EQ(b.tokens(), 8);
    EXPECT_EQ(b.positions, (std::vector<int32_t>{0, 1, 2, 0, 1, 2, 0, 0}));
    EXPECT_EQ(b.type_ids.size(), 8u);
    EXPECT_EQ(b.token_labels.back(), kIgnoredLabel);
  }
}

struct FilledBatchOf : TinyModel, testing::WithParamInterface<std::array<const char*, 3>> {};
INSTANTIATE_TEST_SUITE_P(
    Tasks, FilledBatchOf,
    testing::Values(std::array{"classification", "bert", "task: classification\nhead: {pooling: cls}\n"},
                    std::array{"weighted", "bert",
                               "task: classification\nhead: {pooling: mean, class_weights: balanced}\n"},
                    std::array{"regression", "bert", "task: regression\nhead: {pooling: mean}\n"},
                    std::array{"causal_lm", "llama", "task: causal_lm\n"}),
    [](const auto& task) { return task.param[0]; });

TEST_P(FilledBatchOf, HasTheLossAndGradientsOfTheBatch) {
  const auto& [name, family, settings] = GetParam();
  write_model(family);
  const std::string text =
      fmt::format("model: {}\ndata: {{train: {}, text: text{}}}\nout: {}\nadapter: {{kind: lora, rank: 2}}\n{}",
                  (directory / "model").string(), write_data("train.tsv", 12),
                  std::string_view(family) == "bert" ? ", label: label" : "", (directory / "run").string(), settings);
  const TrainingSetup setup = set_up(parse_config(text, "run.yaml"));
  Tensors leaves;
  setup.model->visit_parameters([&](const std::string& key, Tensor& value) {
    float* values = value.mutable_data<float>();
    for (int64_t i = 0; i < value.numel(); ++i) values[i] = float(goldens::formula_value(key, uint64_t(i), 0.1));
    leaves.push_back(value);
  });
  const std::array<int64_t, 5> rows{1, 4, 5, 8, 11};
  const PackedBatch batch = setup.tasks[0].train.batch(rows);
  Context context, again;
  const Tensor loss = setup.objective.total(*setup.model, setup.objective.tensors(batch, cpu), context);
  const PackedBatch more = filled(batch, setup.objective.task);
  ASSERT_GT(more.tokens(), batch.tokens());
  const Tensor same = setup.objective.total(*setup.model, setup.objective.tensors(more, cpu, true), again);
  EXPECT_NEAR(same.item(), loss.item(), 1e-5 * std::abs(loss.item()));
  const Tensors expected = grad(loss, leaves), got = grad(same, leaves);
  for (size_t i = 0; i < leaves.size(); ++i)
    for (int64_t k = 0; k < leaves[i].numel(); ++k)
      ASSERT_NEAR(got[i].values<float>()[size_t(k)], expected[i].values<float>()[size_t(k)], 1e-5) << i << " " << k;
}

}  // namespace
}  // namespace mora::test
