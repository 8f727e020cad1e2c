// What formats.md lists of malformed tokenizer.json files: each ends in one line that names the file and the field.
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "engine/error.h"
#include "loaders/temporary_directory.h"
#include "loaders/tokenizer_support.h"

namespace mora {
namespace {

using nlohmann::json;
using test::error_of;

json bpe() {
  return json::parse(R"({"version": "1.0", "added_tokens": [{"id": 4, "content": "<s>", "special": true}],
                         "model": {"type": "BPE", "unk_token": "<u>", "vocab": {"a": 0, "b": 1, "ab": 2, "<u>": 3},
                                   "merges": ["a b"]}})");
}

json word_piece() {
  return json::parse(R"({"model": {"type": "WordPiece", "unk_token": "[UNK]", "vocab": {"[UNK]": 0, "a": 1}}})");
}

// The error of `base` with the value at `pointer` replaced.
std::string error_with(json base, const std::string& pointer, const json& value) {
  base[json::json_pointer(pointer)] = value;
  return error_of<IoError>([&] { Tokenizer::from_json(base, "t.json").encode(std::string(40, 'a')); });
}

std::string bpe_error(const std::string& pointer, const json& value) { return error_with(bpe(), pointer, value); }

TEST(TokenizerMalformed, TheBasesAreSound) {
  EXPECT_EQ(Tokenizer::from_json(bpe(), "t").encode("ab<s>ax"), (std::vector<int32_t>{2, 4, 0, 3}));
  EXPECT_EQ(Tokenizer::from_json(word_piece(), "t").encode("a"), (std::vector<int32_t>{1}));
}

TEST(TokenizerMalformed, Vocabulary) {
  EXPECT_EQ(bpe_error("/model/vocab", json::array()),
            "t.json: model.vocab: expected an object of tokens and ids, found array");
  EXPECT_EQ(bpe_error("/model/vocab", json::object()), "t.json: model.vocab: there are no tokens");
  EXPECT_EQ(bpe_error("/model/vocab/b", 0), "t.json: model.vocab: 'a' and 'b' both have id 0");
  EXPECT_EQ(bpe_error("/model/vocab/b", -1), "t.json: model.vocab: the id of 'b' is not an integer of at least 0");
  EXPECT_EQ(bpe_error("/model/vocab/b", 1.0), "t.json: model.vocab: the id of 'b' is not an integer of at least 0");
  EXPECT_EQ(bpe_error("/model/vocab/b", "1"), "t.json: model.vocab: the id of 'b' is not an integer of at least 0");
  EXPECT_EQ(bpe_error("/model/vocab/b", 4294967295u),
            "t.json: model.vocab: the id of 'b', 4294967295, is above 2147483647");
  EXPECT_EQ(bpe_error("/model/vocab/b", 2000000000),
            "t.json: model.vocab: no token has id 1, though 'ab' has 2; ids must run from 0 without gaps");
  EXPECT_EQ(bpe_error("/model/vocab/c", 9),
            "t.json: model.vocab: no token has id 5, though 'c' has 9; ids must run from 0 without gaps");
  EXPECT_EQ(bpe_error("/model/vocab", {{"", 0}}), "t.json: model.vocab: a token is empty");
  EXPECT_EQ(bpe_error("/model/vocab", {{"\xFF", 0}}), "t.json: model.vocab: token '\\xff' is not UTF-8");
}

TEST(TokenizerMalformed, Merges) {
  EXPECT_EQ(bpe_error("/model/merges/0", "a x"), "t.json: model.merges[0]: token 'x' is not in the vocabulary");
  EXPECT_EQ(bpe_error("/model/merges/0", "b a"), "t.json: model.merges[0]: token 'ba' is not in the vocabulary");
  EXPECT_EQ(bpe_error("/model/merges/0", json::array({"a", "x"})),
            "t.json: model.merges[0]: token 'x' is not in the vocabulary");
  EXPECT_EQ(bpe_error("/model/merges/0", "ab"), "t.json: model.merges[0]: 'ab' is not two tokens with a space between");
  EXPECT_EQ(bpe_error("/model/merges/0", "a b c"),
            "t.json: model.merges[0]: 'a b c' is not two tokens with a space between");
  EXPECT_EQ(bpe_error("/model/merges/0", " "), "t.json: model.merges[0]: token '' is not in the vocabulary");
  EXPECT_EQ(bpe_error("/model/merges/0", {"a", "b", "c"}),
            "t.json: model.merges[0]: expected \"a b\" or [\"a\", \"b\"]");
  EXPECT_EQ(bpe_error("/model/merges/0", 7), "t.json: model.merges[0]: expected \"a b\" or [\"a\", \"b\"]");
  EXPECT_EQ(bpe_error("/model/merges", "a b"), "t.json: model.merges: expected an array, found string");
  EXPECT_EQ(bpe_error("/model/continuing_subword_prefix", "##"),
            "t.json: model.merges[0]: token 'b' lacks the continuing_subword_prefix");
}

TEST(TokenizerMalformed, AddedTokens) {
  EXPECT_EQ(bpe_error("/added_tokens/0/id", 2), "t.json: added_tokens[0]: '<s>' with id 2 collides with 'ab'");
  EXPECT_EQ(bpe_error("/added_tokens/0/content", "a"), "t.json: added_tokens[0]: 'a' with id 4 has id 0 elsewhere");
  EXPECT_EQ(bpe_error("/added_tokens/1", {{"id", 5}, {"content", "<s>"}}),
            "t.json: added_tokens[1]: '<s>' with id 5 has id 4 elsewhere");
  EXPECT_EQ(bpe_error("/added_tokens/0/content", ""), "t.json: added_tokens[0].content: the token is empty");
  EXPECT_EQ(bpe_error("/added_tokens/0/id", -4),
            "t.json: added_tokens[0].id: '-4' is not a token id; expected an integer from 0 to 2147483647");
  EXPECT_EQ(bpe_error("/added_tokens/0/id", 4294967295u),
            "t.json: added_tokens[0].id: '4294967295' is not a token id; expected an integer from 0 to 2147483647");
  EXPECT_EQ(bpe_error("/added_tokens/0/special", 1),
            "t.json: added_tokens[0].special: expected true or false, found number");
  EXPECT_EQ(bpe_error("/added_tokens/0", "x"), "t.json: added_tokens[0]: expected an object, found string");
  EXPECT_EQ(bpe_error("/added_tokens", "x"), "t.json: added_tokens: expected an array, found string");
}

TEST(TokenizerMalformed, UnknownToken) {
  EXPECT_EQ(bpe_error("/model/unk_token", "<x>"), "t.json: model.unk_token: '<x>' is not in the vocabulary");
  EXPECT_EQ(error_with(word_piece(), "/model/unk_token", "[X]"),
            "t.json: model.unk_token: '[X]' is not in the vocabulary");
  EXPECT_EQ(error_with(word_piece(), "/model/unk_token", 3),
            "t.json: model.unk_token: expected a string, found number");
  EXPECT_EQ(error_with(word_piece(), "/model", {{"type", "WordLevel"}, {"vocab", {{"a", 0}}}}),
            "t.json: model: 'unk_token' is missing");
}

TEST(TokenizerMalformed, ByteTokens) {
  for (const std::string token : {"<0x-1>", "<0xZZ>", "<0x 1>", "<0x+1>"}) {
    json fallback = bpe();
    fallback["model"]["vocab"][token] = 5;
    EXPECT_NO_THROW(Tokenizer::from_json(fallback, "t.json"));  // a token like any other
    EXPECT_EQ(error_with(fallback, "/model/byte_fallback", true),
              "t.json: model.vocab: '" + token + "' is not a byte token; <0x00> to <0xFF> are");
    EXPECT_EQ(error_with(fallback, "/decoder", {{"type", "ByteFallback"}}),
              "t.json: model.vocab: '" + token + "' is not a byte token; <0x00> to <0xFF> are");
  }
}

TEST(TokenizerMalformed, UnknownStages) {
  EXPECT_TRUE(bpe_error("/normalizer", {{"type", "Precompiled"}})
                  .starts_with("t.json: normalizer: 'Precompiled' is not supported; BertNormalizer,"));
  EXPECT_TRUE(bpe_error("/normalizer", {{"type", "Nmt"}}).starts_with("t.json: normalizer: 'Nmt' is not supported"));
  EXPECT_TRUE(bpe_error("/pre_tokenizer", {{"type", "UnicodeScripts"}})
                  .starts_with("t.json: pre_tokenizer: 'UnicodeScripts' is not supported"));
  EXPECT_TRUE(bpe_error("/pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", {{{"type", "X"}}}}})
                  .starts_with("t.json: pre_tokenizer.pretokenizers[0]: 'X' is not supported"));
  EXPECT_TRUE(
      bpe_error("/post_processor", {{"type", "X"}}).starts_with("t.json: post_processor: 'X' is not supported"));
  EXPECT_TRUE(bpe_error("/decoder", {{"type", "CTC"}}).starts_with("t.json: decoder: 'CTC' is not supported"));
  EXPECT_EQ(bpe_error("/model/type", "Unigram"),
            "t.json: model.type: 'Unigram' is not supported; BPE, WordPiece and WordLevel are");
  EXPECT_EQ(bpe_error("/version", "2.0"), "t.json: version: '2.0' is not supported; 1.0 is");
  EXPECT_EQ(bpe_error("/model/dropout", 0.1), "t.json: model.dropout: BPE dropout is not supported; set it to null");
  EXPECT_EQ(bpe_error("/normalizer", json::object()), "t.json: normalizer: 'type' is missing");
  EXPECT_EQ(error_of<IoError>([] { Tokenizer::from_json(json::array(), "t.json"); }),
            "t.json: expected an object, found array");
  EXPECT_EQ(error_of<IoError>([] { Tokenizer::from_json(json::object(), "t.json"); }), "t.json: 'model' is missing");
}

json split(const std::string& regex) {
  return {{"type", "Split"}, {"pattern", {{"Regex", regex}}}, {"behavior", "Isolated"}, {"invert", false}};
}

TEST(TokenizerMalformed, Stages) {
  json bad = split("a");
  bad["behavior"] = "Sideways";
  EXPECT_TRUE(
      bpe_error("/pre_tokenizer", bad).starts_with("t.json: pre_tokenizer.behavior: unknown behavior 'Sideways'"));
  bad = split("a");
  bad["pattern"] = {{"String", ""}};
  EXPECT_EQ(bpe_error("/pre_tokenizer", bad), "t.json: pre_tokenizer.pattern.String: the pattern is empty");
  bad["pattern"] = "a";
  EXPECT_EQ(bpe_error("/pre_tokenizer", bad), "t.json: pre_tokenizer.pattern: expected an object, found string");
  EXPECT_EQ(bpe_error("/pre_tokenizer", {{"type", "Metaspace"}, {"replacement", "ab"}}),
            "t.json: pre_tokenizer.replacement: 'ab' is not one character");
  EXPECT_TRUE(bpe_error("/pre_tokenizer", {{"type", "Metaspace"}, {"replacement", "_"}, {"prepend_scheme", "last"}})
                  .starts_with("t.json: pre_tokenizer.prepend_scheme: unknown scheme 'last'"));
  EXPECT_EQ(bpe_error("/decoder", {{"type", "Strip"}, {"content", ""}, {"start", 0}, {"stop", 0}}),
            "t.json: decoder.content: '' is not one character");
  const json sequence = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  json post = {
      {"type", "TemplateProcessing"}, {"single", {sequence}}, {"pair", {sequence}}, {"special_tokens", json::object()}};
  EXPECT_EQ(bpe_error("/post_processor", post), "t.json: post_processor.pair: sequence B stands in it 0 times");
  post["single"] = {{{"SpecialToken", {{"id", "<x>"}, {"type_id", 0}}}}};
  EXPECT_EQ(bpe_error("/post_processor", post),
            "t.json: post_processor.single[0].SpecialToken.id: '<x>' is not among the special_tokens");
  EXPECT_EQ(bpe_error("/post_processor", {{"type", "BertProcessing"}, {"cls", {"a", 0}}, {"sep", {"b", 77}}}),
            "t.json: post_processor: no token has id 77");
}

TEST(TokenizerMalformed, RegularExpressions) {
  const auto error = [](const std::string& regex) { return bpe_error("/pre_tokenizer", split(regex)); };
  EXPECT_EQ(
      error("(a"),
      "t.json: pre_tokenizer.pattern.Regex: the regular expression '(a' does not compile: missing closing parenthesis");
  EXPECT_EQ(
      error(R"(\p{IsAlpha})"),
      R"(t.json: pre_tokenizer.pattern.Regex: '\p{IsAlpha}' in the regular expression '\p{IsAlpha}' is not supported)");
  for (const char* unsupported : {"[a&&b]", R"(\bx)", R"(\X)", R"((a)\1)", "a(?i)b", "a{2}+", "[[:alpha:]]", "(?<n>a)",
                                  R"(\p)", "[a", "\\", R"(\xE9)", R"(\x{)", R"(\u12)", "(*UTF)a", R"([\W])"}) {
    EXPECT_NE(error(unsupported).find("is not supported"), std::string::npos) << unsupported;
  }
  EXPECT_EQ(error(std::string(1000, '(') + "a" + std::string(1000, ')'))
                .find("t.json: pre_tokenizer.pattern.Regex: the regular expression"),
            0u);
}

TEST(TokenizerMalformed, CatastrophicRegexGivesUp) {
  const auto start = std::chrono::steady_clock::now();
  for (const char* regex : {"(a+)+[^a]", "(a|aa)+[^a]", "(?:a|a)*[bc]"}) {
    const std::string error = bpe_error("/pre_tokenizer", split(regex));
    EXPECT_NE(error.find("gave up on a text of 40 bytes"), std::string::npos) << error;
  }
  json slow = bpe();  // each attempt is quick, but there is one for each of many places
  slow["pre_tokenizer"] = split("(?:aa)++[cd]");
  const Tokenizer tokenizer = Tokenizer::from_json(slow, "t.json");
  const std::string text(1 << 18, 'a');
  const std::string error = error_of<IoError>([&] { tokenizer.encode(text); });
  EXPECT_NE(error.find("it backtracks too much"), std::string::npos) << error;
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(60));
}

TEST(TokenizerMalformed, Files) {
  const test::TemporaryDirectory directory;
  const auto error = [&] { return error_of<IoError>([&] { Tokenizer::load(directory.path()); }); };
  EXPECT_NE(error().find("tokenizer.json"), std::string::npos);
  directory.write("tokenizer.json", "{\"model\": {");
  EXPECT_EQ(error().find((directory / "tokenizer.json").string()), 0u);
  directory.write("tokenizer.json", bpe().dump());
  EXPECT_EQ(Tokenizer::load(directory.path()).vocab_size(), 5);
  EXPECT_EQ(Tokenizer::load(directory / "tokenizer.json").vocab_size(), 5);
  directory.write("tokenizer_config.json", R"({"eos_token": "</s>"})");
  EXPECT_EQ(error(), (directory / "tokenizer_config.json").string() + ": eos_token: '</s>' is not in the vocabulary");
  directory.write("tokenizer_config.json", R"({"eos_token": 5})");
  EXPECT_EQ(error(), (directory / "tokenizer_config.json").string() + ": eos_token: expected a string, found number");
}

}  // namespace
}  // namespace mora
