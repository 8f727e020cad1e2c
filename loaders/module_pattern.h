// Regular expressions over module paths ("model.layers.0.self_attn.q_proj"), as PEFT's target_modules, rank_pattern and
// alpha_pattern hold them.
#pragma once

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

}  // namespace mora
