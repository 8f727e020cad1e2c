// What tokenizers ask about characters. Categories and decompositions are utf8proc's, corrected to those of the
// Hugging Face `tokenizers` package (unicode_overrides.h) on every code point that Unicode 15 has.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace mora::tokenizer {

enum CharFlag : uint16_t {
  kLetter = 1,         // \p{L}
  kNumber = 2,         // \p{N}, as the regex engine sees it
  kNumeric = 4,        // \p{N}, as the Digits pre-tokenizer sees it
  kSpace = 8,          // White_Space
  kControl = 16,       // dropped by BertNormalizer: Cc, Cf, Co, U+FFFD; not \t \n \r
  kNonspacing = 32,    // Mn
  kMark = 64,          // M
  kPunctuation = 128,  // P, and every ASCII character that is no letter, digit, space or control
  kWord = 256,         // \w: Alphabetic, M, Nd, Pc, Join_Control
  kIdeograph = 512,    // BertNormalizer's "Chinese characters"
};

// The table of the first two planes; everything beyond is computed.
inline constexpr char32_t kTableCodes = 0x20000;
const uint16_t* char_flag_table();
uint16_t compute_char_flags(char32_t code);

// The flags of any code point.
inline uint16_t char_flags(char32_t code) {
  static const uint16_t* const table = char_flag_table();
  return code < kTableCodes ? table[code] : compute_char_flags(code);
}

inline bool is_space(char32_t code) { return (char_flags(code) & kSpace) != 0; }

// Full lowercase of one character, without context: U+0130 becomes two code points, a final sigma is like any other.
void append_lowercase(std::string& out, char32_t code);
void append_lowercase(std::string& out, std::string_view text);

enum class NormalForm { kNfd, kNfc, kNfkd, kNfkc };  // Unicode Standard Annex 15

// `text` in a normal form, in time linear in its length up to the sorting of combining marks. Compositions are those
// of utf8proc.
void append_normalized(std::string& out, std::string_view text, NormalForm form);

}  // namespace mora::tokenizer
