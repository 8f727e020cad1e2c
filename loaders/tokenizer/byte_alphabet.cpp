#include "loaders/tokenizer/byte_alphabet.h"

#include <array>

#include "loaders/tokenizer/codepoint.h"

namespace mora::tokenizer {
namespace {

struct Alphabet {
  static constexpr char32_t kCodes = 0x100 + 68;
  std::array<char32_t, 256> character{};
  std::array<int16_t, kCodes> byte{};  // −1: no character of the alphabet
};

constexpr Alphabet make_alphabet() {
  Alphabet alphabet;
  for (auto& each : alphabet.byte) each = -1;
  char32_t other = 0x100;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xFF && byte != 0xAD);
    alphabet.character[byte] = printable ? byte : other++;
    alphabet.byte[alphabet.character[byte]] = static_cast<int16_t>(byte);
  }
  return alphabet;
}

constexpr Alphabet kAlphabet = make_alphabet();

}  // namespace

void append_byte_characters(std::string& out, std::string_view bytes) {
  for (const char byte : bytes) append_utf8(out, kAlphabet.character[static_cast<uint8_t>(byte)]);
}

std::optional<std::string> bytes_of_characters(std::string_view text) {
  std::string bytes;
  bytes.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const char32_t code = next_codepoint(text, at);
    if (code >= Alphabet::kCodes || kAlphabet.byte[code] < 0) return std::nullopt;
    bytes += static_cast<char>(kAlphabet.byte[code]);
  }
  return bytes;
}

}  // namespace mora::tokenizer
