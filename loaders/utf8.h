// UTF-8 as Python reads it with errors="replace".
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace mora {

// Bytes of `text` before its first one that is not part of valid UTF-8; text.size() if all of it is.
size_t valid_utf8_prefix(std::string_view text);

// `text` with U+FFFD in place of whatever is not UTF-8: one for each longest beginning of a valid sequence, else one a
// byte (The Unicode Standard, 3.9, "U+FFFD Substitution of Maximal Subparts"; so does Python).
std::string replace_invalid_utf8(std::string_view text);

}  // namespace mora
