// What the goldens do not show: special tokens, threads, time, and that shortcuts give what the long way gives.
#include "loaders/tokenizer/tokenizer.h"

#include <gtest/gtest.h>

#include <ctime>
#include <functional>
#include <thread>

#include "engine/error.h"
#include "loaders/temporary_directory.h"
#include "loaders/tokenizer/codepoint.h"
#include "loaders/tokenizer/gpt_scanner.h"
#include "loaders/tokenizer/regex.h"
#include "loaders/tokenizer_support.h"
#include "loaders/utf8.h"

namespace mora {
namespace {

using namespace test;  // NOLINT(google-build-using-namespace)
using nlohmann::json;

TEST(Tokenizer, KnowsItsTokens) {
  const Tokenizer tokenizer = Tokenizer::load(fetched("minilm"));
  EXPECT_EQ(tokenizer.vocab_size(), 30522);
  EXPECT_EQ(tokenizer.token_to_id("[CLS]"), 101);
  EXPECT_EQ(tokenizer.token_to_id("no such token"), std::nullopt);
  EXPECT_EQ(tokenizer.id_to_token(102), "[SEP]");
  EXPECT_EQ(tokenizer.id_to_token(30522), "");
  EXPECT_EQ(tokenizer.id_to_token(-1), "");
  EXPECT_TRUE(tokenizer.is_special(101));
  EXPECT_FALSE(tokenizer.is_special(2000));
  EXPECT_EQ(tokenizer.pad_id(), 0);
  EXPECT_EQ(tokenizer.unk_id(), 100);
  EXPECT_EQ(tokenizer.bos_id(), std::nullopt);
}

TEST(Tokenizer, ReadsNamesOfSpecialTokens) {
  const json config = {
      {"bos_token", {{"content", "<s>"}}}, {"eos_token", "</s>"}, {"pad_token", nullptr}, {"add_bos_token", true}};
  const Tokenizer tokenizer = Tokenizer::from_json(golden_json("llama2"), config, "llama2");
  EXPECT_EQ(tokenizer.bos_id(), 1);
  EXPECT_EQ(tokenizer.eos_id(), 2);
  EXPECT_EQ(tokenizer.pad_id(), std::nullopt);
  EXPECT_EQ(tokenizer.add_bos_token(), true);
  EXPECT_EQ(tokenizer.add_eos_token(), std::nullopt);
}

TEST(Tokenizer, EncodesPairsAndPlainText) {
  const Tokenizer tokenizer = golden_tokenizer("minilm");
  const Encoding pair = tokenizer.encode_pair("hello", "world");
  EXPECT_EQ(pair.ids, (std::vector<int32_t>{101, 7592, 102, 2088, 102}));
  EXPECT_EQ(pair.type_ids, (std::vector<int32_t>{0, 0, 0, 1, 1}));
  EXPECT_EQ(tokenizer.encode("hello", false), (std::vector<int32_t>{7592}));
  EXPECT_EQ(tokenizer.encode(""), (std::vector<int32_t>{101, 102}));
  EXPECT_EQ(tokenizer.decode(pair.ids), "hello world");
  EXPECT_EQ(tokenizer.decode(pair.ids, false), "[CLS] hello [SEP] world [SEP]");
  EXPECT_EQ(tokenizer.decode(std::vector<int32_t>{-100, 7592, 1 << 30}), "hello");
}

TEST(Tokenizer, ManyThreadsGetTheSameIds) {
  for (const char* name : {"llama2", "llama3"}) {
    const Tokenizer tokenizer = golden_tokenizer(name);
    const auto lines = mixed_text(100000);
    std::vector<std::vector<int32_t>> expected;
    for (const std::string& line : lines) expected.push_back(tokenizer.encode(line));
    std::vector<std::thread> threads;
    std::vector<int> wrong(4);
    for (size_t t = 0; t < wrong.size(); ++t) {
      threads.emplace_back([&, t] {
        for (size_t i = 0; i < lines.size(); ++i) wrong[t] += tokenizer.encode(lines[i]) != expected[i];
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(wrong, std::vector<int>(4));
  }
}

// Of this thread: what other processes take of the machine does not count.
double seconds(const std::function<void()>& work) {
  const auto now = [] {
    timespec t{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return double(t.tv_sec) + double(t.tv_nsec) * 1e-9;
  };
  const double start = now();
  work();
  return now() - start;
}

// Texts of one piece, of no spaces, of marks: eight times the length may take at most twenty times as long.
TEST(Tokenizer, TimeIsLinearInTheLength) {
#ifdef MORA_SANITIZED
  GTEST_SKIP() << "a sanitizer's own time is no line";
#endif
  std::string marks = "a";
  for (int i = 0; i < 64; ++i) marks += i < 32 ? "\u0301" : "\u0323";
  std::string mixed;
  for (const std::string& line : mixed_text(8192)) mixed += line;
  for (const std::string name : {"minilm", "gpt2", "llama2", "llama3", "qwen2"}) {
    const Tokenizer tokenizer = golden_tokenizer(name);
    for (const std::string& unit :
         {std::string("a"), std::string("ab"), std::string(" "), std::string("\n "), std::string("1"), std::string("."),
          std::string("\u4e2d\u6587"), std::string("\u0301"), marks, mixed, std::string("<s>"), std::string("<"),
          std::string("\xF0\x9F"), std::string("\u2581")}) {
      const auto text = [&](size_t bytes) {
        std::string out;
        while (out.size() < bytes) out += unit;
        return out;
      };
      const std::string small = text(1 << 16), large = text(1 << 19);
      double best = 1e9;
      for (int i = 0; i < 3; ++i) best = std::min(best, seconds([&] { tokenizer.encode(small); }));
      const double longer = seconds([&] { tokenizer.encode(large); });
      EXPECT_LT(longer, 20 * best + 0.05) << name << " '" << unit.substr(0, 20) << "'";
    }
  }
}

// A whole text in one piece (Llama-2 has no pre-tokenizer) is cut where no merge reaches over. With a merge of a byte
// token nothing is cut: the ids must not differ.
TEST(Tokenizer, CuttingLongPiecesChangesNothing) {
  json whole = golden_json("llama2");
  auto& model = whole["model"];
  model["vocab"]["<0x00><0x01>"] = model["vocab"].size() + 1;
  for (json& token : whole["added_tokens"]) {
    if (token["content"] == "<Norm>") token["id"] = model["vocab"].size();
  }
  model["vocab"]["<0x00><0x01>"] = model["vocab"].size() - 1;
  model["merges"].push_back("<0x00> <0x01>");
  const Tokenizer plain = Tokenizer::from_json(whole, "whole"), cut = golden_tokenizer("llama2");
  for (const std::string& line : mixed_text(300000)) {
    if (line.find("<Norm>") != line.npos || line.find('\1') != line.npos) continue;
    ASSERT_EQ(plain.encode(line), cut.encode(line)) << line;
  }
}

// The places where the pieces of `text` end.
std::string piece_ends(const tokenizer::Pattern& pattern, std::string_view text) {
  std::vector<tokenizer::Stretch> stretches;
  pattern.divide(text, stretches);
  std::vector<int32_t> ends;
  for (const auto& each : stretches) ends.push_back(static_cast<int32_t>(each.end));
  return ids_text(ends);
}

TEST(Tokenizer, ScannersAgreeWithTheRegexEngine) {
  for (const std::string_view regex : {tokenizer::kGpt2Regex, tokenizer::kLlama3Regex, tokenizer::kQwen2Regex}) {
    const auto scanner = tokenizer::gpt_scanner(regex);
    const auto engine = tokenizer::compile_regex(regex, "test");
    size_t letters_of_unicode_15 = 0;  // which the engine, at Unicode 14, takes for symbols
    for (const std::string& bytes : awkward_lines()) {
      const std::string line = replace_invalid_utf8(bytes);
      if (line.empty()) continue;
      if (piece_ends(*scanner, line) == piece_ends(*engine, line)) continue;
      ++letters_of_unicode_15;
      EXPECT_EQ(tokenizer::ascii_prefix(line) < line.size(), true) << line;
    }
    EXPECT_LE(letters_of_unicode_15, 12u) << regex;
  }
}

TEST(Tokenizer, ReplacesInvalidUtf8AsPythonDoes) {
  EXPECT_EQ(replace_invalid_utf8("a\xE2\x82"
                                 "b\xF0\x9F\x98\xED\xA0\x80\xC0\x80"),
            "a\uFFFDb\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(valid_utf8_prefix("12345678é\xC3"), 10u);
  EXPECT_EQ(valid_utf8_prefix("12345678"), 8u);
}

TEST(DecodeStream, HoldsIncompleteCharactersBack) {
  const Tokenizer tokenizer = golden_tokenizer("gpt2");
  const auto ids = tokenizer.encode("\U00020BB7");  // in no merge: four tokens
  ASSERT_EQ(ids.size(), 4u);
  DecodeStream stream(tokenizer);
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(stream.push(ids[i]), "");
  EXPECT_EQ(stream.push(ids[3]), "\U00020BB7");
  EXPECT_EQ(stream.push(ids[0]), "");
  EXPECT_EQ(stream.finish(), "\uFFFD");
  for (int i = 0; i < 1000; ++i) stream.push(ids[1]);  // bytes that never make a character do not wait for ever
  EXPECT_EQ(stream.finish(), "\uFFFD");
}

TEST(DecodeStream, KeepsTheSpaceBetweenWords) {
  const Tokenizer tokenizer = golden_tokenizer("minilm");
  DecodeStream stream(tokenizer);
  std::string text;
  for (const int32_t id : tokenizer.encode("hello unbelievable world .")) text += stream.push(id);
  EXPECT_EQ(text + stream.finish(), "hello unbelievable world.");
}

}  // namespace
}  // namespace mora
