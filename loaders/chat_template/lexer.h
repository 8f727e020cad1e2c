// The tokens of a chat template, with the whitespace control of Jinja under trim_blocks and lstrip_blocks: the newline
// behind a block is dropped, so is what stands in front of a block that begins its line.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace mora::jinja {

struct Token {
  enum class Kind { text, print_begin, print_end, block_begin, block_end, name, string, integer, floating, op, end };
  Kind kind;
  std::string text;  // a string's is decoded
  int line;
};

struct SyntaxError {
  std::string message;
  int line;
};

// The tokens of `source`, which is valid UTF-8; the last one is `end`. Throws SyntaxError.
std::vector<Token> tokenize(std::string_view source);

}  // namespace mora::jinja
