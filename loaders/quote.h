// Text of a user inside an error message, and inside a command to copy.
#pragma once

#include <string>
#include <string_view>

namespace mora {

// 'name': control characters and invalid UTF-8 escaped as \xNN, cut at 80 bytes, so that any name fits in one line.
std::string quote(std::string_view name);

// `word` as a shell reads it back: itself, or between single quotes.
std::string shell_quote(std::string_view word);

}  // namespace mora
