#include "loaders/quote.h"

#include <fmt/format.h>
#include <utf8proc.h>

namespace mora {

std::string quote(std::string_view name) {
  constexpr size_t longest = 80;
  std::string out = "'";
  const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(name.data());
  size_t i = 0;
  while (i < name.size() && i < longest) {
    utf8proc_int32_t code = 0;
    const auto length = utf8proc_iterate(bytes + i, static_cast<utf8proc_ssize_t>(name.size() - i), &code);
    const bool printable = length > 0 && code >= 0x20 && !(code >= 0x7F && code < 0xA0);
    if (printable) {
      out += name.substr(i, static_cast<size_t>(length));
    } else {
      out += fmt::format("\\x{:02x}", bytes[i]);
    }
    i += printable ? static_cast<size_t>(length) : 1;
  }
  return out + (i < name.size() ? "…'" : "'");
}

std::string shell_quote(std::string_view word) {
  constexpr std::string_view plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-+=:,@";
  if (!word.empty() && word.find_first_not_of(plain) == std::string_view::npos) return std::string(word);
  std::string quoted = "'";
  for (const char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

}  // namespace mora
