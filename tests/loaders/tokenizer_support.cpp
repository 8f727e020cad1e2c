#include "loaders/tokenizer_support.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <iterator>
#include <stdexcept>

#include "loaders/json.h"
#include "loaders/temporary_directory.h"
#include "loaders/tokenizer/codepoint.h"

namespace mora::test {

std::filesystem::path goldens() { return std::filesystem::path(MORA_SOURCE_DIR) / "tests/goldens"; }

std::filesystem::path fetched(std::string_view path) {
  const auto file = std::filesystem::path(MORA_SOURCE_DIR) / ".cache/models" / path;
  if (!std::filesystem::exists(file)) throw std::runtime_error(file.string() + " is missing: run tools/fetch.sh");
  return file;
}

std::vector<std::string> split_lines(std::string_view text) {
  std::vector<std::string> lines;
  for (size_t end = text.find('\n'); end != text.npos; end = text.find('\n')) {
    lines.emplace_back(text.substr(0, end));
    text.remove_prefix(end + 1);
  }
  return lines;
}

const std::vector<std::string>& awkward_lines() {
  static const auto lines = split_lines(read_bytes(goldens() / "awkward_lines.txt"));
  return lines;
}

namespace {

constexpr char32_t kRanges[][2] = {{0x20, 0x7E},       {0xA0, 0x24F},      {0x300, 0x36F},     {0x370, 0x52F},
                                   {0x590, 0x6FF},     {0x900, 0xDFF},     {0xE00, 0xFFF},     {0x1100, 0x11FF},
                                   {0x1E00, 0x1FFF},   {0x2000, 0x2BFF},   {0x3000, 0x30FF},   {0x4E00, 0x9FFF},
                                   {0xAC00, 0xD7A3},   {0xF900, 0xFAFF},   {0xFE00, 0xFFEF},   {0x10000, 0x107FF},
                                   {0x1D100, 0x1D7FF}, {0x1F000, 0x1FAFF}, {0x20000, 0x2FFFF}, {0xE0000, 0xE01FF}};

std::vector<std::string> short_words() {
  std::vector<std::string> words;
  for (const std::string& line : awkward_lines()) {
    for (size_t begin = 0; begin <= line.size();) {
      const size_t end = std::min(line.find(' ', begin), line.size());
      if (end > begin && end - begin <= 40) words.push_back(line.substr(begin, end - begin));
      begin = end + 1;
    }
  }
  return words;
}

}  // namespace

std::vector<std::string> mixed_text(size_t bytes) {
  uint64_t state = 1;
  const auto draw = [&](size_t n) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return static_cast<size_t>((state >> 33) % n);
  };
  const auto& lines = awkward_lines();
  const auto words = short_words();
  std::vector<std::string> out;
  for (size_t total = 0; total < bytes; total += out.back().size() + 1) {
    std::string line;
    for (size_t parts = 1 + draw(8); parts > 0; --parts) {
      line += std::array{" ", "", "  ", ", "}[draw(4)];
      const size_t kind = draw(5);
      if (kind == 0) {
        line += lines[draw(lines.size())];
      } else if (kind == 1) {
        const auto [low, high] = kRanges[draw(std::size(kRanges))];
        for (size_t n = 1 + draw(12); n > 0; --n) {
          tokenizer::append_utf8(line, low + static_cast<char32_t>(draw(high - low + 1)));
        }
      } else if (kind == 4) {
        line += std::to_string(draw(1000000000));
      } else {
        const size_t n = 1 + draw(10);
        for (size_t i = 0; i < n; ++i) {
          if (i > 0) line += ' ';
          line += words[draw(words.size())];
        }
      }
    }
    out.push_back(std::move(line));
  }
  return out;
}

uint64_t fnv1a(std::string_view bytes, uint64_t state) {
  for (const char byte : bytes) state = (state ^ static_cast<uint8_t>(byte)) * 0x100000001B3u;
  return state;
}

namespace {

// SmolLM2's tokenizer.json out of the metadata of its GGUF file, with the stages of the published one.
nlohmann::json smollm2_json() {
  const std::string file = read_bytes(fetched("SmolLM2-135M-Instruct.Q4_1.gguf"));
  const auto array = [&](std::string_view key) {  // where the elements of the array `key` begin, and how many there are
    const size_t value = file.find(key) + key.size() + 4 + 4;
    uint64_t count = 0;
    std::memcpy(&count, file.data() + value, 8);
    return std::pair(value + 8, count);
  };
  const auto strings = [&](std::string_view key) {
    auto [at, count] = array(key);
    std::vector<std::string> out(count);
    for (std::string& each : out) {
      uint64_t length = 0;
      std::memcpy(&length, file.data() + at, 8);
      each = file.substr(at + 8, length);
      at += 8 + length;
    }
    return out;
  };
  const size_t types = array("tokenizer.ggml.token_type").first;
  const auto tokens = strings("tokenizer.ggml.tokens");
  nlohmann::json vocab, added = nlohmann::json::array();
  for (size_t id = 0; id < tokens.size(); ++id) {
    vocab[tokens[id]] = id;
    int32_t type = 0;
    std::memcpy(&type, file.data() + types + 4 * id, 4);
    if (type != 3) continue;  // "control"
    added.push_back({{"id", id}, {"content", tokens[id]}, {"special", true}, {"normalized", false}});
  }
  const nlohmann::json digits = {{"type", "Digits"}, {"individual_digits", true}};
  const nlohmann::json bytes = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}};
  return {{"version", "1.0"},
          {"added_tokens", added},
          {"pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", {digits, bytes}}}},
          {"decoder", bytes},
          {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", strings("tokenizer.ggml.merges")}}}};
}

}  // namespace

nlohmann::json golden_json(const std::string& name) {
  if (name == "minilm") return read_json(fetched("minilm/tokenizer.json"));
  if (name == "smollm2") return smollm2_json();
  return read_json(goldens() / "tokenizers" / (name + ".json"));
}

Tokenizer golden_tokenizer(const std::string& name) { return Tokenizer::from_json(golden_json(name), name); }

std::string ids_text(std::span<const int32_t> ids) {
  std::string text;
  for (const int32_t id : ids) {
    if (!text.empty()) text += ' ';
    text += std::to_string(id);
  }
  return text;
}

}  // namespace mora::test
