#include "loaders/batch.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "engine/error.h"

namespace mora {
namespace {

using Ints = std::vector<int32_t>;
using Rows = std::vector<int64_t>;

Rows batch_of(const EpochPlan& plan, int64_t i) { return {plan.batch(i).begin(), plan.batch(i).end()}; }

std::vector<Rows> batches_of(const EpochPlan& plan) {
  std::vector<Rows> batches;
  for (int64_t i = 0; i < plan.size(); ++i) batches.push_back(batch_of(plan, i));
  return batches;
}

int64_t tokens_of(const Rows& rows, const Ints& lengths) {
  return std::accumulate(rows.begin(), rows.end(), int64_t{0},
                         [&](int64_t sum, int64_t row) { return sum + lengths[row]; });
}

// Lengths 1 … 200, mostly short, as texts have.
Ints text_lengths(size_t n) {
  Ints lengths;
  for (size_t i = 0; i < n; ++i)
    lengths.push_back(static_cast<int32_t>(1 + (i * 7919 % 200) * (i * 104729 % 200) / 200));
  return lengths;
}

void expect_each_row_once(const EpochPlan& plan, size_t rows) {
  Rows all;
  for (const Rows& batch : batches_of(plan)) all.insert(all.end(), batch.begin(), batch.end());
  std::sort(all.begin(), all.end());
  Rows expected(rows);
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(all, expected);
}

TEST(Pack, LaysSequencesEndToEnd) {
  const Example a{.ids = {5, 6, 7}, .type_ids = {}, .token_labels = {}, .label = 1, .target = 0.5f};
  const Example b{.ids = {8, 9}, .type_ids = {0, 1}, .token_labels = {-100, 9}, .label = 0, .target = -1};
  const Example* both[] = {&a, &b};
  const PackedBatch batch = pack(both, Rows{40, 2});
  EXPECT_EQ(batch.ids, (Ints{5, 6, 7, 8, 9}));
  EXPECT_EQ(batch.positions, (Ints{0, 1, 2, 0, 1}));
  EXPECT_EQ(batch.type_ids, (Ints{0, 0, 0, 0, 1}));
  EXPECT_EQ(batch.token_labels, (Ints{-100, -100, -100, -100, 9}));
  EXPECT_EQ(batch.offsets, (Ints{0, 3, 5}));
  EXPECT_EQ(batch.labels, (Ints{1, 0}));
  EXPECT_EQ(batch.targets, (std::vector<float>{0.5f, -1}));
  EXPECT_EQ(batch.rows, (Rows{40, 2}));
  EXPECT_EQ(batch.tokens(), 5);
  EXPECT_EQ(batch.sequences(), 2);

  const Example* plain[] = {&a};
  EXPECT_TRUE(pack(plain, Rows{0}).type_ids.empty());
  EXPECT_TRUE(pack(plain, Rows{0}).token_labels.empty());
}

TEST(Pack, RefusesWhatDoesNotFitTogether) {
  const Example empty, short_types{.ids = {1, 2}, .type_ids = {0}, .token_labels = {}},
      short_labels{.ids = {1, 2}, .type_ids = {}, .token_labels = {1}};
  for (const Example* example : {&empty, &short_types, &short_labels}) {
    const Example* one[] = {example};
    EXPECT_THROW(pack(one, Rows{0}), ShapeError);
  }
  EXPECT_THROW(pack({}, {}), ShapeError);
  const Example fine{.ids = {1}, .type_ids = {}, .token_labels = {}};
  const Example* one[] = {&fine};
  EXPECT_THROW(pack(one, Rows{0, 1}), ShapeError);
}

TEST(PlanEpoch, WithoutShuffleKeepsTheFilesOrder) {
  const EpochPlan plan = plan_epoch(Ints{9, 1, 5, 5, 5}, {.batch_size = 2, .shuffle = false}, 3);
  EXPECT_EQ(batches_of(plan), (std::vector<Rows>{{0, 1}, {2, 3}, {4}}));
  const EpochPlan budget = plan_epoch(Ints{9, 1, 5, 5, 5}, {.batch_tokens = 10, .shuffle = false}, 3);
  EXPECT_EQ(batches_of(budget), (std::vector<Rows>{{0, 1}, {2, 3}, {4}}));
  EXPECT_EQ(plan_epoch(Ints{}, {.shuffle = false}, 0).size(), 0);
}

TEST(PlanEpoch, IsAPureFunctionOfSeedAndEpoch) {
  const Ints lengths = text_lengths(1000);
  const BatchOptions options{.batch_size = 16, .seed = 5};
  const auto first = batches_of(plan_epoch(lengths, options, 0));
  EXPECT_EQ(first, batches_of(plan_epoch(lengths, options, 0)));
  EXPECT_NE(first, batches_of(plan_epoch(lengths, options, 1)));
  EXPECT_NE(first, batches_of(plan_epoch(lengths, {.batch_size = 16, .seed = 6}, 0)));
}

TEST(PlanEpoch, ShufflesBatchesOfLikeLength) {
  const Ints lengths = text_lengths(4003);
  const EpochPlan plan = plan_epoch(lengths, {.batch_size = 32}, 0);
  expect_each_row_once(plan, lengths.size());
  EXPECT_EQ(plan.size(), (4003 + 31) / 32);
  int64_t padded = 0, shorter_first = 0;
  for (const Rows& batch : batches_of(plan)) {
    const int64_t longest =
        *std::max_element(batch.begin(), batch.end(), [&](int64_t a, int64_t b) { return lengths[a] < lengths[b]; });
    padded += lengths[longest] * static_cast<int64_t>(batch.size());
  }
  const int64_t real = std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
  EXPECT_LT(padded, real * 115 / 100) << "a batch would need little padding, if there were any";
  for (int64_t i = 0; i + 1 < plan.size(); ++i)
    shorter_first += lengths[plan.batch(i)[0]] < lengths[plan.batch(i + 1)[0]];
  EXPECT_GT(shorter_first, plan.size() / 3) << "the order of batches is random, not sorted";
  EXPECT_LT(shorter_first, plan.size() * 2 / 3);
}

TEST(PlanEpoch, KeepsToATokenBudget) {
  const Ints lengths = text_lengths(3000);
  for (const bool packing : {false, true}) {
    const EpochPlan plan = plan_epoch(lengths, {.batch_tokens = 512, .packing = packing}, 2);
    expect_each_row_once(plan, lengths.size());
    for (const Rows& batch : batches_of(plan)) EXPECT_LE(tokens_of(batch, lengths), 512);
  }
}

TEST(PlanEpoch, PackingFillsTheBudget) {
  const Ints lengths = text_lengths(3000);
  const int64_t real = std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
  const EpochPlan plan = plan_epoch(lengths, {.batch_tokens = 512, .packing = true}, 0);
  EXPECT_GT(static_cast<double>(real) / static_cast<double>(plan.size() * 512), 0.98);
  EXPECT_LT(plan.size(), plan_epoch(lengths, {.batch_tokens = 512}, 0).size());
}

TEST(PlanEpoch, RefusesWhatCannotBePlanned) {
  EXPECT_THROW(plan_epoch(Ints{1}, {.batch_size = 0}, 0), ConfigError);
  EXPECT_THROW(plan_epoch(Ints{1}, {.batch_tokens = -1}, 0), ConfigError);
  EXPECT_THROW(plan_epoch(Ints{3, 0}, {}, 0), ShapeError);
  try {
    plan_epoch(Ints{3, 12}, {.batch_tokens = 8}, 0);
    FAIL() << "a row longer than the budget";
  } catch (const ConfigError& e) {
    EXPECT_STREQ(e.what(), "train.batch_tokens: 8 tokens cannot hold row 1 of 12; raise it or lower data.max_length");
  }
}

}  // namespace
}  // namespace mora
