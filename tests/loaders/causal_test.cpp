#include "loaders/causal.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "engine/error.h"
#include "loaders/temporary_directory.h"

namespace mora {
namespace {

using Ints = std::vector<int32_t>;
using nlohmann::json;

constexpr int32_t kNo = kIgnoredLabel;

// Words between spaces; 0 <s>, 1 </s>, 2 <|start|>, 3 <|end|>, 4 unknown, then words.
Tokenizer words(bool adds_bos = true) {
  json added = json::array();
  const char* specials[] = {"<s>", "</s>", "<|start|>", "<|end|>", "<unk>"};
  json vocabulary = {{"user", 5}, {"assistant", 6}, {"one", 7}, {"two", 8}, {"three", 9}, {"four", 10}, {"system", 11}};
  for (int id = 0; id < 5; ++id) {
    vocabulary[specials[id]] = id;
    added.push_back({{"id", id},
                     {"content", specials[id]},
                     {"special", true},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false}});
  }
  json post = nullptr;
  if (adds_bos)
    post = json::parse(R"({"type": "TemplateProcessing",
      "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
      "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
      "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}}})");
  const json file = {{"version", "1.0"},
                     {"truncation", nullptr},
                     {"padding", nullptr},
                     {"added_tokens", added},
                     {"normalizer", nullptr},
                     {"pre_tokenizer", {{"type", "WhitespaceSplit"}}},
                     {"post_processor", post},
                     {"decoder", nullptr},
                     {"model", {{"type", "WordLevel"}, {"vocab", vocabulary}, {"unk_token", "<unk>"}}}};
  return Tokenizer::from_json(file, {{"bos_token", "<s>"}, {"eos_token", "</s>"}, {"unk_token", "<unk>"}}, "test");
}

Row row_of(std::vector<std::string> texts) {
  Row row{"data.jsonl:1", {}};
  for (std::string& text : texts) row.fields.push_back({"column", Field::Kind::string, std::move(text)});
  return row;
}

Row chat_of(std::string messages) {
  return {"data.jsonl:1", {{"messages", Field::Kind::json, std::move(messages)}, {"tools", Field::Kind::missing, ""}}};
}

const char* kChatTemplate =
    "{% for m in messages %}{{ '<|start|>' + m.role + ' ' + m.content + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start|>assistant' }}{% endif %}";

CausalEncoder chat_encoder(std::string source, CausalOptions options = {}) {
  return {causal_columns("messages", {}), words(false), ChatTemplate(std::move(source)), options};
}

TEST(CausalColumns, FollowTheOptionThenTheData) {
  EXPECT_EQ(causal_columns("text", {"text", "messages"}).kind, CausalKind::text);
  EXPECT_EQ(causal_columns("text", {"messages"}).kind, CausalKind::messages);
  EXPECT_EQ(causal_columns("text", {"prompt", "completion"}).kind, CausalKind::completion);
  EXPECT_EQ(causal_columns("q + a", {"q", "a"}).columns, (std::vector<std::string>{"q", "a"}));
  EXPECT_EQ(causal_columns("body", {"title"}).columns, (std::vector<std::string>{"body"}))
      << "its absence is the data's error";
}

TEST(CausalEncoder, TrainsEveryTokenOfPlainTextAndItsEnd) {
  CausalWarnings warnings;
  const CausalEncoder encoder({}, words(), std::nullopt, {});
  const Example example = encoder.encode(row_of({"one two"}), warnings);
  EXPECT_EQ(example.ids, (Ints{0, 7, 8, 1}));
  EXPECT_EQ(example.token_labels, (Ints{kNo, 7, 8, 1}));
  EXPECT_TRUE(warnings.lines().empty());

  const CausalEncoder bare({}, words(false), std::nullopt, {.append_eos = false});
  const Example first = bare.encode(row_of({"one two"}), warnings);
  EXPECT_EQ(first.token_labels, (Ints{kNo, 8})) << "nothing stands before the first token";
}

TEST(CausalEncoder, TrainsTheCompletionOnly) {
  CausalWarnings warnings;
  const CausalEncoder encoder(causal_columns("a + b", {}), words(), std::nullopt, {});
  const Example example = encoder.encode(row_of({"one two", " three"}), warnings);
  EXPECT_EQ(example.ids, (Ints{0, 7, 8, 9, 1}));
  EXPECT_EQ(example.token_labels, (Ints{kNo, kNo, kNo, 9, 1}));
  const Example merged = encoder.encode(row_of({"one tw", "o"}), warnings);
  EXPECT_EQ(merged.token_labels, (Ints{kNo, kNo, 8, 1})) << "a token across the border is the completion's";
}

TEST(CausalEncoder, TrainsTheAssistantsTurnsAndTheirEnds) {
  CausalWarnings warnings;
  const Example example = chat_encoder(kChatTemplate)
                              .encode(chat_of(R"([{"role": "user", "content": "one"},
      {"role": "assistant", "content": "two"}, {"role": "user", "content": "three"}, {"role": "assistant", "content": "four"}])"),
                                      warnings);
  EXPECT_EQ(example.ids, (Ints{2, 5, 7, 3, 2, 6, 8, 3, 2, 5, 9, 3, 2, 6, 10, 3}));
  EXPECT_EQ(example.token_labels, (Ints{kNo, kNo, kNo, kNo, kNo, kNo, 8, 3, kNo, kNo, kNo, kNo, kNo, kNo, 10, 3}));
  EXPECT_TRUE(warnings.lines().empty()) << warnings.lines()[0];
}

TEST(CausalEncoder, WarnsOfWhatLooksWrong) {
  CausalWarnings warnings;
  const CausalEncoder doubled({}, words(), std::nullopt, {});
  doubled.encode(row_of({"<s> one"}), warnings);
  EXPECT_EQ(warnings.doubled_bos, 1);

  const CausalEncoder missing(causal_columns("messages", {}), words(), ChatTemplate(kChatTemplate), {});
  missing.encode(chat_of(R"([{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}])"), warnings);
  EXPECT_EQ(warnings.missing_bos, 1);

  chat_encoder("{% for m in messages %}{{ m.content + ' ' }}{% endfor %}")
      .encode(chat_of(R"([{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}])"), warnings);
  EXPECT_EQ(warnings.untrained_end, 1);

  const CausalEncoder cut(causal_columns("a + b", {}), words(), std::nullopt, {.max_length = 3});
  const Example example = cut.encode(row_of({"one two ", "three"}), warnings);
  EXPECT_EQ(example.ids.size(), 3u);
  EXPECT_EQ(warnings.truncated, 1);
  EXPECT_EQ(warnings.untrained_rows, 1);
  EXPECT_EQ(warnings.lines().size(), 5u);
  EXPECT_NO_THROW(CausalEncoder::require_trained(warnings));
  EXPECT_THROW(CausalEncoder::require_trained({.rows = 2, .untrained_rows = 2}), ConfigError);
}

TEST(CausalEncoder, ErrorsNameTheRow) {
  CausalWarnings warnings;
  const auto error = [&](const CausalEncoder& encoder, const Row& row) {
    return test::error_of<Error>([&] { encoder.encode(row, warnings); });
  };
  const CausalEncoder chat =
      chat_encoder("{{ raise_exception('roles') if messages[0].role == 'system' }}{{ messages|length }}");
  EXPECT_EQ(error(chat, chat_of("[]")),
            "data.jsonl:1: column 'messages': expected a list of messages that is not empty");
  EXPECT_EQ(error(chat, chat_of("[{\"role\": 1}]")),
            "data.jsonl:1: column 'messages': message 0 has no role; expected {\"role\": …, \"content\": …}");
  EXPECT_EQ(error(chat, chat_of(R"([{"role": "system"}])")), "data.jsonl:1: chat template: line 1: roles");
  EXPECT_EQ(
      error(chat, chat_of(R"([{"role": "user"}, {"role": "assistant"}, {"role": "user"}])")),
      "data.jsonl:1: message 1: the chat template writes earlier turns differently once later ones follow, so the "
      "assistant's turns cannot be told apart");
  const auto refusal = [](const CausalColumns& columns, const CausalOptions& options) {
    return test::error_of<ConfigError>([&] { const CausalEncoder encoder(columns, words(), std::nullopt, options); });
  };
  EXPECT_NE(refusal(causal_columns("messages", {}), {}), "");
  EXPECT_NE(refusal({}, {.max_length = 1}), "");
}

}  // namespace
}  // namespace mora
