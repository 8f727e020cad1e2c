// The regular expressions of GPT-2, Llama-3 and Qwen2 as one scanner: linear, and free of a regex engine's Unicode
// version. Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", encoder.py, and successors.
#pragma once

#include <memory>
#include <string_view>

#include "loaders/tokenizer/pattern.h"

namespace mora::tokenizer {

inline constexpr std::string_view kGpt2Regex =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
inline constexpr std::string_view kLlama3Regex =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
inline constexpr std::string_view kQwen2Regex =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// The scanner of one of the three, or null. All of a text is matches.
std::unique_ptr<Pattern> gpt_scanner(std::string_view regex);

}  // namespace mora::tokenizer
