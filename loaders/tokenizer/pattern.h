// Patterns that split text: a literal, a class of characters, a regular expression.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "loaders/tokenizer/json_field.h"

namespace mora::tokenizer {

// A stretch of text [begin, end) in bytes, relative to the text it was found in.
struct Span {
  uint32_t begin = 0, end = 0;
};

// A stretch that the pattern matches, or one between matches.
struct Stretch {
  uint32_t begin = 0, end = 0;
  bool match = false;
};

class Pattern {
 public:
  virtual ~Pattern() = default;

  // Appends stretches that cover `text`, which is not empty, from its begin to its end.
  virtual void divide(std::string_view text, std::vector<Stretch>& out) const = 0;
};

// Those of the characters that have one of the flags of char_flags (unicode.h).
std::unique_ptr<Pattern> character_class(uint16_t flags);

// The occurrences of a string, from the left, without overlaps.
std::unique_ptr<Pattern> literal(std::string text);

// {"String": …} or {"Regex": …}, of a Split or Replace. The regular expressions that GPT-2, Llama-3 and Qwen2 split
// with have scanners of their own (gpt_scanner.h); others run in PCRE2 (regex.h).
std::unique_ptr<Pattern> read_pattern(const JsonField& field);

// What becomes of the matches when text is split.
enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };
SplitBehavior read_split_behavior(const JsonField& field);

// Turns the stretches of a text into its pieces, some of which may be empty.
void apply_split_behavior(SplitBehavior behavior, std::vector<Stretch>& stretches, std::vector<Span>& pieces);

}  // namespace mora::tokenizer
