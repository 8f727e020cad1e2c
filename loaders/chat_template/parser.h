// From tokens to a tree. Grammar and precedence are those of Jinja 3.1.
#pragma once

#include <string_view>

#include "loaders/chat_template/ast.h"
#include "loaders/chat_template/lexer.h"

namespace mora::jinja {

// Parses a template, which is valid UTF-8. Throws SyntaxError: what is wrong, an unknown filter or test, a statement
// that templates of chats do not use, or nesting too deep to walk recursively.
Body parse_template(std::string_view source);

}  // namespace mora::jinja
