#include "mora/generation/sampling.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>

#include "engine/error.h"

namespace mora {
namespace {

int32_t sample(std::vector<float> logits, const SamplingOptions& options, uint64_t step = 0,
               std::vector<int32_t> before = {}) {
  Tensor t = Tensor::from(logits, {int64_t(logits.size())});
  return sample_token(t, before, options, 0, step);
}

// How often each token is drawn in `draws` draws.
std::map<int32_t, int> counts(const std::vector<float>& logits, const SamplingOptions& options, int draws = 4000) {
  std::map<int32_t, int> count;
  for (int i = 0; i < draws; ++i) ++count[sample(logits, options, uint64_t(i))];
  return count;
}

const std::vector<float> half_and_rest{std::log(.1f), std::log(.5f), std::log(.15f), std::log(.25f)};

TEST(Sampling, TemperatureZeroTakesTheFirstOfTheLargest) {
  EXPECT_EQ(sample({1, 3, 2, 3}, {}), 1);
  EXPECT_EQ(sample({-std::numeric_limits<float>::infinity(), -5}, {}), 1);
}

TEST(Sampling, FrequenciesAreTheSoftmax) {
  const auto count = counts(half_and_rest, {.temperature = 1});
  const double expected[] = {.1, .5, .15, .25};
  for (int32_t id = 0; id < 4; ++id) EXPECT_NEAR(count.at(id) / 4000., expected[id], 0.03) << id;  // 4 σ
}

TEST(Sampling, TemperatureSharpens) {  // p² / Σ p²
  EXPECT_NEAR(counts(half_and_rest, {.temperature = 0.5}).at(1) / 4000., .25 / .345, 0.03);
  EXPECT_EQ(counts(half_and_rest, {.temperature = 1e-30}, 50).at(1), 50);
}

TEST(Sampling, TopKKeepsTheLikeliest) {
  const auto count = counts(half_and_rest, {.temperature = 1, .top_k = 2});
  ASSERT_EQ(count.size(), 2u);
  EXPECT_NEAR(count.at(1) / 4000., 2. / 3, 0.03);
  EXPECT_EQ(counts(half_and_rest, {.temperature = 1, .top_k = 100}, 400).size(), 4u);
}

TEST(Sampling, TopPKeepsTheFewestThatHaveTheShare) {
  EXPECT_EQ(counts(half_and_rest, {.temperature = 1, .top_p = 0.49}).size(), 1u);
  const auto count = counts(half_and_rest, {.temperature = 1, .top_p = 0.6});
  ASSERT_EQ(count.size(), 2u);
  EXPECT_EQ(count.count(3), 1u);
  EXPECT_EQ(counts(half_and_rest, {.temperature = 1, .top_p = 1e-9}).size(), 1u);
  // Of what top_k has left: 0.5 of 0.75 is less than 0.7 of it.
  EXPECT_EQ(counts(half_and_rest, {.temperature = 1, .top_k = 2, .top_p = 0.7}).size(), 2u);
  EXPECT_EQ(counts(half_and_rest, {.temperature = 1, .top_k = 2, .top_p = 0.6}).size(), 1u);
}

TEST(Sampling, ARepeatedTokenIsPenalisedOnceOnEitherSideOfZero) {
  const SamplingOptions penalty{.repetition_penalty = 2};
  EXPECT_EQ(sample({3, 2}, penalty, 0, {0, 0}), 1);     // 3 / 2 < 2
  EXPECT_EQ(sample({3.9f, 1}, penalty, 0, {0, 0}), 0);  // not 3.9 / 4
  EXPECT_EQ(sample({-1, -1.5f}, penalty, 0, {0}), 1);   // −1 · 2 < −1.5
}

TEST(Sampling, ADrawIsAFunctionOfSeedSequenceAndStep) {
  auto draws = [](uint64_t seed, uint64_t sequence) {
    std::vector<int32_t> ids;
    for (uint64_t step = 0; step < 40; ++step) {
      Tensor t = Tensor::from(half_and_rest, {4});
      ids.push_back(sample_token(t, {}, {.temperature = 1, .seed = seed}, sequence, step));
    }
    return ids;
  };
  EXPECT_EQ(draws(1, 0), draws(1, 0));
  EXPECT_NE(draws(1, 0), draws(2, 0));
  EXPECT_NE(draws(1, 0), draws(1, 1));
}

TEST(Sampling, LogitsThatAreNotNumbersAndOptionsThatCannotBeMeantAreErrors) {
  EXPECT_THROW(sample({1, NAN, 2}, {}), ConfigError);
  EXPECT_THROW(sample({-INFINITY, -INFINITY}, {.temperature = 1}), ConfigError);
  EXPECT_THROW((SamplingOptions{.temperature = -1}.check()), ConfigError);
  EXPECT_THROW((SamplingOptions{.top_k = -1}.check()), ConfigError);
  EXPECT_THROW((SamplingOptions{.top_p = 0}.check()), ConfigError);
  EXPECT_THROW((SamplingOptions{.top_p = 1.5}.check()), ConfigError);
  EXPECT_THROW((SamplingOptions{.repetition_penalty = 0}.check()), ConfigError);
}

}  // namespace
}  // namespace mora
