// Regular expressions of tokenizer files. They are written for Oniguruma (Ruby syntax, Unicode); we run them in PCRE2.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "loaders/tokenizer/pattern.h"

namespace mora::tokenizer {

// The expression in PCRE2's syntax with Oniguruma's meaning. What the two engines cannot be made to agree on throws
// IoError: "name: …", with the construct.
std::string translate_oniguruma(std::string_view expression, const std::string& name);

// Compiles an Oniguruma expression. `name` opens its errors: IoError for one that does not compile, and, when text is
// divided, for one that backtracks out of all proportion. Characters newer than PCRE2's Unicode version (14 in 10.42)
// have no properties.
std::unique_ptr<Pattern> compile_regex(std::string_view expression, const std::string& name);

}  // namespace mora::tokenizer
