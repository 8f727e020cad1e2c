// Regular expressions over module paths ("model.layers.0.self_attn.q_proj"), as PEFT's target_modules, rank_pattern and
// alpha_pattern hold them.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>

namespace mora {

class ModulePattern {
 public:
  // Throws ConfigError, with `place` in front, when the expression does not compile.
  ModulePattern(const std::string& expression, const std::string& place);

  // Whether the whole path matches (Python's re.fullmatch). Throws ConfigError when the expression backtracks out of
  // all proportion.
  bool matches(std::string_view path) const;

 private:
  std::shared_ptr<const void> code_;  // pcre2_code
  std::string place_;
};

// Whether the expression matches the path, or its end from a dot on.
bool matches_from_dot(const std::string& expression, std::string_view path, std::string_view key);

// The value of the first pattern that matches `(.*\.)?PATTERN`, as PEFT's get_pattern_key has it; `otherwise` where
// none does. `key` names the patterns in errors.
template <class Value>
Value value_of_module(const std::map<std::string, Value>& patterns, std::string_view path, std::string_view key,
                      Value otherwise) {
  for (const auto& [expression, value] : patterns)
    if (matches_from_dot(expression, path, key)) return value;
  return otherwise;
}

}  // namespace mora
