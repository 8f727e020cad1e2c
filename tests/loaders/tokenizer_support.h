// Goldens of tests/goldens/tokenizers/ and the texts they were made of (tests/goldens/write_tokenizer_goldens.py).
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "loaders/tokenizer/tokenizer.h"

namespace mora::test {

std::filesystem::path goldens();  // tests/goldens
std::filesystem::path fetched(
    std::string_view path);  // .cache/models/…; throws where it is missing: run tools/fetch.sh

std::vector<std::string> split_lines(std::string_view text);  // at \n and nowhere else; the last line ends in one
const std::vector<std::string>& awkward_lines();

// At least `bytes` of lines, \n included, of every kind of character: pieces of awkward lines, runs of one script,
// words, numbers, drawn by a linear congruential generator.
std::vector<std::string> mixed_text(size_t bytes);

uint64_t fnv1a(std::string_view bytes, uint64_t state = 0xCBF29CE484222325u);

// The tokenizers of the goldens: gpt2, llama2, llama3, qwen2 (trained), minilm and smollm2 (fetched).
nlohmann::json golden_json(const std::string& name);
Tokenizer golden_tokenizer(const std::string& name);

std::string ids_text(std::span<const int32_t> ids);  // "1 2 3"

}  // namespace mora::test
