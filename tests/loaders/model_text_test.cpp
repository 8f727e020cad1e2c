// Tokenizer and chat template out of SmolLM2's GGUF against transformers (goldens/smollm2_generation.json).
#include "loaders/model_text.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "loaders/json.h"

namespace mora {
namespace {

const std::filesystem::path source = MORA_SOURCE_DIR;

TEST(ModelText, ChatPromptsOutOfAGgufAreThoseOfTransformers) {
  const auto file = source / ".cache/models/SmolLM2-135M-Instruct.Q4_1.gguf";
  ASSERT_TRUE(std::filesystem::exists(file)) << "run tools/fetch.sh first";
  const Tokenizer tokenizer = load_tokenizer(file);
  const auto chat_template = load_chat_template(file);
  ASSERT_TRUE(chat_template.has_value());
  EXPECT_EQ(tokenizer.id_to_token(tokenizer.eos_id().value()), "<|im_end|>");
  EXPECT_EQ(tokenizer.id_to_token(tokenizer.bos_id().value()), "<|im_start|>");
  const nlohmann::json golden = read_json(source / "tests/goldens/smollm2_generation.json");
  ASSERT_EQ(golden.size(), 20u);
  for (const auto& chat : golden) {
    const ChatTurn turn = {"user", chat.at("prompt").get<std::string>()};
    EXPECT_EQ(chat_prompt_ids(tokenizer, *chat_template, {&turn, 1}),
              chat.at("prompt_ids").get<std::vector<int32_t>>());
  }
}

TEST(ModelText, AModelWithoutAChatTemplateHasNone) {
  EXPECT_FALSE(load_chat_template(source / "tests/goldens/models/llama").has_value());
}

TEST(ModelText, TemplatesKnowTheSpecialTokensThatTheTokenizerHas) {
  const nlohmann::json document = {
      {"version", "1.0"}, {"model", {{"type", "WordLevel"}, {"vocab", {{"<s>", 0}, {"a", 1}}}, {"unk_token", "a"}}}};
  const ChatVariables variables =
      special_tokens(Tokenizer::from_json(document, nlohmann::json{{"bos_token", "<s>"}}, "document"));
  ASSERT_EQ(variables.size(), 1u);
  EXPECT_EQ(*variables.at("bos_token").string(), "<s>");
}

}  // namespace
}  // namespace mora
