#include "loaders/module_pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <array>
#include <cctype>

#include "engine/error.h"
#include "loaders/quote.h"

namespace mora {
namespace {

constexpr uint32_t kMatchLimit = 1'000'000;  // steps of backtracking: far beyond any sane path, a fraction of a second

std::string message_of(int error) {
  std::array<PCRE2_UCHAR, 200> text{};
  pcre2_get_error_message(error, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

// Most patterns are module names: no operator but the dot, which matches any character.
bool is_name(std::string_view expression) {
  return std::ranges::all_of(expression, [](char c) {
    return c == '.' || c == '_' || c == '-' || std::isalnum(static_cast<unsigned char>(c));
  });
}

// Whether `name` matches the end of the path, from a dot on (PEFT's get_pattern_key: `(.*\.)?NAME$`).
bool matches_name(std::string_view name, std::string_view path) {
  if (name.size() > path.size() || (name.size() < path.size() && path[path.size() - name.size() - 1] != '.'))
    return false;
  return std::ranges::equal(name, path.substr(path.size() - name.size()),
                            [](char n, char p) { return n == '.' || n == p; });
}

}  // namespace

ModulePattern::ModulePattern(const std::string& expression, const std::string& place) : place_(place) {
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(expression.data()), expression.size(),
                    PCRE2_UTF | PCRE2_ANCHORED | PCRE2_ENDANCHORED | PCRE2_NEVER_BACKSLASH_C, &error, &offset, nullptr);
  require<ConfigError>(code != nullptr, "{}: {} is no regular expression: {} at character {}", place, quote(expression),
                       message_of(error), offset);
  code_ = std::shared_ptr<const void>(
      code, [](const void* c) { pcre2_code_free(static_cast<pcre2_code*>(const_cast<void*>(c))); });
}

bool ModulePattern::matches(std::string_view path) const {
  const auto* code = static_cast<const pcre2_code*>(code_.get());
  const std::unique_ptr<pcre2_match_context, void (*)(pcre2_match_context*)> context(
      pcre2_match_context_create(nullptr), pcre2_match_context_free);
  pcre2_set_match_limit(context.get(), kMatchLimit);
  const std::unique_ptr<pcre2_match_data, void (*)(pcre2_match_data*)> groups(
      pcre2_match_data_create_from_pattern(code, nullptr), pcre2_match_data_free);
  const int result =
      pcre2_match(code, reinterpret_cast<PCRE2_SPTR>(path.data()), path.size(), 0, 0, groups.get(), context.get());
  require<ConfigError>(result >= 0 || result == PCRE2_ERROR_NOMATCH, "{}: cannot match {}: {}", place_, quote(path),
                       result < 0 ? message_of(result) : "");
  return result >= 0;
}

bool matches_from_dot(const std::string& expression, std::string_view path, std::string_view key) {
  if (is_name(expression)) return matches_name(expression, path);
  return ModulePattern("(.*\\.)?(" + expression + ")", std::string(key)).matches(path);
}

}  // namespace mora
