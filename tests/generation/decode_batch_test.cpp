// Sequences that join and leave a batch between steps, against each on its own.
#include "mora/generation/decode_batch.h"

#include <gtest/gtest.h>

#include <map>

#include "engine/allocator.h"
#include "mora/generation/generate.h"
#include "mora/models/registry.h"

namespace mora {
namespace {

using Ids = std::vector<int32_t>;

struct Decoding : ::testing::Test {
  std::unique_ptr<Model> model = load_model(std::filesystem::path(MORA_SOURCE_DIR) / "tests/goldens/models/gpt2");
  const GenerationOptions options{
      .max_tokens = 10, .stop_tokens = {}, .sampling = {.temperature = 0.8, .top_k = 20, .top_p = 0.9, .seed = 4}};
  std::map<uint64_t, Ids> heard;
  std::map<uint64_t, DecodedToken::End> ends;

  Ids alone(const Ids& prompt) const {
    return generate(*model, {prompt}, options, [](size_t, int32_t) {}).ids[0];  // draw 0, as below
  }
  void step(DecodeBatch& batch, int64_t prompt_tokens = 1000) {
    batch.step(
        [&](const DecodedToken& token) {
          EXPECT_FALSE(token.error);
          heard[token.sequence].push_back(token.id);
          ends[token.sequence] = token.end;
          return true;
        },
        prompt_tokens);
  }
};

TEST_F(Decoding, SequencesJoinAndLeaveWithoutAChangeToTheOthers) {
  const Ids first{5, 6, 7}, second{9, 9, 20, 30, 11}, third{40, 41};
  DecodeBatch batch(*model);
  EXPECT_EQ(batch.add({.prompt = first, .options = options, .draw = 0, .adapter = 1}), 0u);
  for (int i = 0; i < 3; ++i) step(batch);
  EXPECT_EQ(batch.add({.prompt = second, .options = options}), 1u);  // of a lower adapter: comes to stand before it
  step(batch);
  const uint64_t left = batch.add({.prompt = third, .options = options});
  for (int i = 0; i < 2; ++i) step(batch);
  batch.remove(left);
  EXPECT_EQ(batch.size(), 2u);
  while (batch.size() > 0) step(batch);
  EXPECT_EQ(heard[0], alone(first));
  EXPECT_EQ(heard[1], alone(second));
  const Ids whole = alone(third);
  EXPECT_EQ(heard[left], Ids(whole.begin(), whole.begin() + 2));
  EXPECT_EQ(ends[0], DecodedToken::End::length);
}

TEST_F(Decoding, ALongPromptIsReadInPartsWhileOthersGoOn) {
  Ids longest(40);
  for (size_t i = 0; i < longest.size(); ++i) longest[i] = int32_t(7 * i % 80);
  const Ids brief{5, 6, 7};
  DecodeBatch batch(*model);
  batch.add({.prompt = longest, .options = options});
  batch.add({.prompt = brief, .options = options});
  step(batch, 8);  // 8 of the first prompt, at least one of each
  step(batch, 8);
  step(batch, 8);
  EXPECT_TRUE(heard[0].empty());
  EXPECT_EQ(heard[1].size(), 1u);  // one token of it at a time: the first took all
  while (batch.size() > 0) step(batch, 8);
  EXPECT_EQ(heard[0], alone(longest));
  EXPECT_EQ(heard[1], alone(brief));
}

TEST_F(Decoding, WhoHearsATokenCanEndTheSequence) {
  DecodeBatch batch(*model);
  batch.add({.prompt = {5, 6, 7}, .options = options});
  batch.step([](const DecodedToken&) { return false; });
  EXPECT_EQ(batch.size(), 0u);
  batch.add({.prompt = {5, 6, 7}, .options = options});
  batch.clear();
  EXPECT_EQ(batch.size(), 0u);
  step(batch);
  EXPECT_TRUE(heard.empty());
}

TEST_F(Decoding, TheCacheTakesNoMoreThanTheLongestText) {
  const auto llama = load_model(std::filesystem::path(MORA_SOURCE_DIR) / "tests/goldens/models/llama");
  const HfConfig& c = llama->config();
  constexpr int64_t prompt = 600, made = 40;
  const int64_t of_token = 2 * c.num_hidden_layers * c.num_key_value_heads * c.head_dim * int64_t(sizeof(float));
  {
    DecodeBatch warm(*llama);  // what a model keeps once it has run
    warm.add({.prompt = Ids(prompt + made, 5), .options = options});
    for (int i = 0; i < 2; ++i) step(warm);
  }
  const int64_t before = memory_stats().live_bytes;
  DecodeBatch batch(*llama);
  batch.add({.prompt = Ids(prompt, 5), .options = {.max_tokens = made, .stop_tokens = {}, .sampling = {}}});
  for (int64_t i = 1; i < made; ++i) step(batch);
  EXPECT_EQ(batch.size(), 1u);
  const int64_t cached = memory_stats().live_bytes - before;
  EXPECT_GE(cached, prompt * of_token);
  EXPECT_LE(cached, (prompt + made) * of_token * 11 / 10);
}

}  // namespace
}  // namespace mora
