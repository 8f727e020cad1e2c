// Greedy text of SmolLM2 against transformers (goldens/smollm2_generation.json), and generation of a small GPT-2.
#include "mora/generation/generate.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "loaders/json.h"
#include "mora/models/registry.h"

namespace mora {
namespace {

const std::filesystem::path source = MORA_SOURCE_DIR;
using Ids = std::vector<int32_t>;

const auto ignore = [](size_t, int32_t) {};

TEST(SmolLm2, GreedyTokensOf20ChatsAgreeWithTransformers) {
  const auto file = source / ".cache/models/SmolLM2-135M-Instruct.Q4_1.gguf";
  ASSERT_TRUE(std::filesystem::exists(file)) << "run tools/fetch.sh first";
  const auto model = load_model(file);
  const nlohmann::json golden = read_json(source / "tests/goldens/smollm2_generation.json");
  std::vector<Ids> prompts;
  for (const auto& chat : golden) prompts.push_back(chat.at("prompt_ids").get<Ids>());
  ASSERT_FALSE(model->config().eos_token_ids.empty());
  GenerationOptions options{.max_tokens = 64, .stop_tokens = {}, .sampling = {}};
  for (int64_t id : model->config().eos_token_ids) options.stop_tokens.push_back(int32_t(id));
  const GenerationResult result = generate(*model, prompts, options, ignore);
  for (size_t i = 0; i < prompts.size(); ++i) {
    const Ids expected = golden[i].at("ids").get<Ids>(), &ids = result.ids[i];
    const auto gaps = golden[i].at("gaps").get<std::vector<double>>();
    const size_t same =
        size_t(std::mismatch(ids.begin(), ids.end(), expected.begin(), expected.end()).first - ids.begin());
    if (same == expected.size() && same == ids.size()) continue;
    ASSERT_LT(same, expected.size()) << golden[i].at("prompt") << ": the text goes on";
    EXPECT_LE(gaps[same], 1e-3) << golden[i].at("prompt") << ", token " << same << ": no tie";
  }
}

struct SmallGpt2 : ::testing::Test {
  std::unique_ptr<Model> model = load_model(source / "tests/goldens/models/gpt2");  // 64 positions, 80 tokens
  GenerationOptions options{.max_tokens = 10, .stop_tokens = {}, .sampling = {}};
  const Ids first{5, 6, 7}, second{9, 9, 20, 30, 11};
};

TEST_F(SmallGpt2, ABatchGivesWhatEachPromptGivesAlone) {
  options.sampling = {.repetition_penalty = 1.1, .temperature = 0.8, .top_k = 20, .top_p = 0.9, .seed = 4};
  const auto both = generate(*model, {first, second}, options, ignore);
  EXPECT_EQ(both.ids[0], generate(*model, {first}, options, ignore).ids[0]);
  EXPECT_EQ(both.ids[0].size(), 10u);
  EXPECT_EQ(both.prefill_tokens, 8);
  EXPECT_EQ(both.decode_tokens, 18);
  EXPECT_NE(both.ids[0], generate(*model, {second}, options, ignore).ids[0]);
}

TEST_F(SmallGpt2, AStopTokenIsTheLastOfItsSequenceAndTheOthersGoOn) {
  const auto free = generate(*model, {first, second}, options, ignore);
  const int32_t stop = free.ids[0][2];
  options.stop_tokens = {79, stop};
  const auto stopped = generate(*model, {first, second}, options, ignore);
  auto until = [&](const Ids& ids) {
    const auto at = std::find(ids.begin(), ids.end(), stop);
    return Ids(ids.begin(), at == ids.end() ? at : at + 1);
  };
  EXPECT_EQ(stopped.ids[0], until(free.ids[0]));
  EXPECT_EQ(stopped.ids[1], until(free.ids[1]));
  EXPECT_LE(stopped.ids[0].size(), 3u);
}

TEST_F(SmallGpt2, TheCallbackHearsEveryTokenInOrder) {
  std::vector<Ids> heard(2);
  const auto result =
      generate(*model, {first, second}, options, [&](size_t prompt, int32_t id) { heard[prompt].push_back(id); });
  EXPECT_EQ(heard, result.ids);
}

TEST_F(SmallGpt2, GenerationEndsWithTheModelsPositions) {
  options.max_tokens = 100;
  // 62 tokens leave two positions: each gives one more token, and so did the prompt's last.
  EXPECT_EQ(generate(*model, {Ids(62, 5)}, options, ignore).ids[0].size(), 3u);
  EXPECT_THROW(generate(*model, {Ids(65, 5)}, options, ignore), ShapeError);
}

TEST_F(SmallGpt2, WrongUseIsAnError) {
  EXPECT_THROW(generate(*model, {Ids{}}, options, ignore), ConfigError);
  options.max_tokens = 0;
  EXPECT_THROW(generate(*model, {first}, options, ignore), ConfigError);
  const auto encoder = load_model(source / "tests/goldens/models/bert");
  EXPECT_THROW(generate(*encoder, {first}, {}, ignore), ConfigError);
}

}  // namespace
}  // namespace mora
