// GPT-2's alphabet: a printable character for each byte (Radford et al. 2019, encoder.py, bytes_to_unicode). Printable
// Latin-1 stands for itself; the n-th of the other bytes is U+0100 + n.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace mora::tokenizer {

// Appends the characters of the bytes of `bytes`.
void append_byte_characters(std::string& out, std::string_view bytes);

// The bytes whose characters make up `text`; nothing if one of them is not in the alphabet.
std::optional<std::string> bytes_of_characters(std::string_view text);

}  // namespace mora::tokenizer
