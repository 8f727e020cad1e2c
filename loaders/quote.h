// Text from a file inside an error message.
#pragma once

#include <string>
#include <string_view>

namespace mora {

// 'name': control characters and invalid UTF-8 escaped as \xNN, cut at 80 bytes, so that any name fits in one line.
std::string quote(std::string_view name);

}  // namespace mora
