// Template values out of JSON, with the keys of objects in the order of the text.
#pragma once

#include <string_view>

#include "loaders/chat_template/value.h"

namespace mora::jinja {

// IoError in the words of parse_json; `source` opens it.
Value json_value(std::string_view text, std::string_view source);

}  // namespace mora::jinja
