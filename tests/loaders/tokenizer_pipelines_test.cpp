// Whole tokenizers against the `tokenizers` package: the awkward lines, more than a megabyte of mixed text, and back.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "loaders/temporary_directory.h"
#include "loaders/tokenizer_support.h"

namespace mora {
namespace {

using namespace test;  // NOLINT(google-build-using-namespace)

class TokenizerPipelines : public testing::TestWithParam<std::string> {
 protected:
  Tokenizer tokenizer() const { return golden_tokenizer(GetParam()); }

  std::vector<std::string> golden(const std::string& extension) const {
    return split_lines(read_bytes(goldens() / "tokenizers" / (GetParam() + extension)));
  }
};

constexpr size_t kBlock = 256;  // lines

TEST_P(TokenizerPipelines, AwkwardLines) {
  const auto expected = golden(".ids");
  ASSERT_GE(expected.size(), 500u);
  ASSERT_EQ(expected.size(), awkward_lines().size());
  const Tokenizer tokenizer = this->tokenizer();
  for (size_t i = 0; i < expected.size(); ++i) {
    ASSERT_EQ(ids_text(tokenizer.encode(awkward_lines()[i])), expected[i])
        << "line " << i + 1 << ": " << awkward_lines()[i];
  }
}

TEST_P(TokenizerPipelines, MixedText) {
  const auto expected = golden(".hashes");
  const auto lines = mixed_text(1200000);
  ASSERT_EQ(expected.size(), (lines.size() + kBlock - 1) / kBlock + 2);
  const Tokenizer tokenizer = this->tokenizer();
  for (size_t block = 0; block * kBlock < lines.size(); ++block) {
    uint64_t hash = fnv1a("");
    for (size_t i = block * kBlock; i < std::min(lines.size(), (block + 1) * kBlock); ++i) {
      auto ids = tokenizer.encode(lines[i]);
      ids.push_back(-1);
      hash = fnv1a({reinterpret_cast<const char*>(ids.data()), ids.size() * sizeof(int32_t)}, hash);
    }
    ASSERT_EQ(fmt::format("{:016x}", hash), expected[block]) << "lines " << block * kBlock << " and on";
  }
}

TEST_P(TokenizerPipelines, DecodesBack) {
  const auto expected = golden(".hashes");
  const Tokenizer tokenizer = this->tokenizer();
  for (const bool skip_special : {true, false}) {
    std::string all;
    for (const std::string& line : awkward_lines()) {
      if (&line != awkward_lines().data()) all += '\n';
      all += tokenizer.decode(tokenizer.encode(line), skip_special);
    }
    EXPECT_EQ(fmt::format("{:016x}", fnv1a(all)), expected[expected.size() - (skip_special ? 2 : 1)]);
  }
}

TEST_P(TokenizerPipelines, StreamsWhatItDecodes) {
  const Tokenizer tokenizer = this->tokenizer();
  for (const std::string& line : awkward_lines()) {
    if (line.size() > 200) continue;
    const auto ids = tokenizer.encode(line);
    DecodeStream stream(tokenizer);
    std::string joined;
    for (const int32_t id : ids) joined += stream.push(id);
    joined += stream.finish();
    ASSERT_EQ(joined, tokenizer.decode(ids)) << line;
  }
}

INSTANTIATE_TEST_SUITE_P(, TokenizerPipelines,
                         testing::Values("minilm", "smollm2", "gpt2", "llama2", "llama3", "qwen2"),
                         [](const auto& test) { return test.param; });

// Bytes in, the same bytes out: what holds for all text that is UTF-8 and looks like no special token.
TEST(TokenizerRoundTrip, ByteLevelKeepsEveryByte) {
  const Tokenizer tokenizer = golden_tokenizer("gpt2");
  for (const std::string& line : mixed_text(200000)) {
    if (line.find('<') != line.npos) continue;
    const std::string text = tokenizer.decode(tokenizer.encode(line));
    ASSERT_EQ(tokenizer.encode(text), tokenizer.encode(line));
  }
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("naïve 中文 😀\r\n\t!")), "naïve 中文 😀\r\n\t!");
}

}  // namespace
}  // namespace mora
