// Each stage alone, and each property of characters, against the `tokenizers` package.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <functional>
#include <map>

#include "loaders/json.h"
#include "loaders/temporary_directory.h"
#include "loaders/tokenizer/codepoint.h"
#include "loaders/tokenizer/unicode.h"
#include "loaders/tokenizer_support.h"

namespace mora {
namespace {

using namespace test;  // NOLINT(google-build-using-namespace)
using nlohmann::json;

const json& stage_goldens() {
  static const json goldens_json = read_json(goldens() / "tokenizers/stages.json");
  return goldens_json;
}

json stage_tokenizer() {
  return {{"pre_tokenizer", {{"type", "WhitespaceSplit"}}},
          {"model", {{"type", "WordPiece"}, {"unk_token", "[UNK]"}, {"vocab", stage_goldens()["vocab"]}}}};
}

TEST(TokenizerStages, NormalizersAndPreTokenizers) {
  const auto texts = stage_goldens()["texts"].get<std::vector<std::string>>();
  ASSERT_GE(stage_goldens()["cases"].size(), 150u);
  for (json stage : stage_goldens()["cases"]) {
    const auto expected = stage["ids"].get<std::vector<std::vector<int32_t>>>();
    stage.erase("ids");
    json config = stage_tokenizer();
    config.update(stage);
    const Tokenizer tokenizer = Tokenizer::from_json(config, "stages.json");
    for (size_t i = 0; i < texts.size(); ++i) {
      EXPECT_EQ(ids_text(tokenizer.encode(texts[i])), ids_text(expected[i])) << stage << " of '" << texts[i] << "'";
    }
  }
}

TEST(TokenizerStages, PostProcessors) {
  const auto pair = stage_goldens()["pair"].get<std::vector<std::string>>();
  for (const json& stage : stage_goldens()["processors"]) {
    json config = stage_tokenizer();
    config["post_processor"] = stage["post_processor"];
    const Tokenizer tokenizer = Tokenizer::from_json(config, "stages.json");
    size_t i = 0;
    for (const bool special : {true, false}) {
      for (const Encoding& each :
           {tokenizer.encode_typed(pair[0], special), tokenizer.encode_pair(pair[0], pair[1], special)}) {
        EXPECT_EQ(json::array({each.ids, each.type_ids}), stage["encodings"][i]) << stage["post_processor"];
        ++i;
      }
    }
  }
}

TEST(TokenizerStages, Decoders) {
  const json golden = read_json(goldens() / "tokenizers/decoders.json");
  const auto sequences = golden["sequences"].get<std::vector<std::vector<int32_t>>>();
  for (const json& stage : golden["cases"]) {
    const json config = {{"decoder", stage["decoder"]},
                         {"model", {{"type", "WordLevel"}, {"unk_token", "a"}, {"vocab", golden["vocab"]}}}};
    const Tokenizer tokenizer = Tokenizer::from_json(config, "decoders.json");
    for (size_t i = 0; i < sequences.size(); ++i) {
      EXPECT_EQ(tokenizer.decode(sequences[i]), stage["texts"][i].get<std::string>())
          << stage["decoder"] << " of " << ids_text(sequences[i]);
    }
  }
}

// One hash for all code points: `bytes` appends what a property makes of one.
uint64_t hash_of_all(const std::function<void(char32_t, std::string&)>& bytes) {
  uint64_t hash = fnv1a("");
  std::string buffer;
  for (char32_t code = 1; code < 0x110000; ++code) {
    if (code >= 0xD800 && code < 0xE000) continue;
    buffer.clear();
    bytes(code, buffer);
    hash = fnv1a(buffer, hash);
  }
  return hash;
}

TEST(TokenizerStages, EveryCodePoint) {
  using namespace tokenizer;  // NOLINT(google-build-using-namespace)
  std::map<std::string, uint64_t> golden;
  for (const std::string& line : split_lines(read_bytes(goldens() / "tokenizers/characters.txt"))) {
    golden[line.substr(0, line.find(' '))] = std::stoull(line.substr(line.find(' ')), nullptr, 16);
  }
  const std::pair<const char*, CharFlag> flags[] = {
      {"letter", kLetter},       {"number", kNumber},          {"numeric", kNumeric}, {"space", kSpace},
      {"mark", kMark},           {"nonspacing", kNonspacing},  {"word", kWord},       {"control", kControl},
      {"ideograph", kIdeograph}, {"punctuation", kPunctuation}};
  for (const auto& [name, flag] : flags) {
    const auto bit = [flag = flag](char32_t code, std::string& out) {
      out += (char_flags(code) & flag) != 0 ? '\1' : '\0';
    };
    EXPECT_EQ(hash_of_all(bit), golden.at(name)) << name;
  }
  const std::pair<const char*, NormalForm> forms[] = {
      {"nfd", NormalForm::kNfd}, {"nfc", NormalForm::kNfc}, {"nfkd", NormalForm::kNfkd}, {"nfkc", NormalForm::kNfkc}};
  for (const auto& [name, form] : forms) {
    const auto normalized = [form = form](char32_t code, std::string& out) {
      std::string text;
      append_utf8(text, code);
      append_normalized(out, text, form);
    };
    EXPECT_EQ(hash_of_all(normalized), golden.at(name)) << name;
  }
  const auto lower = [](char32_t code, std::string& out) { append_lowercase(out, code); };
  EXPECT_EQ(hash_of_all(lower), golden.at("lowercase"));
}

}  // namespace
}  // namespace mora
