// Strict JSON for files from outside: UTF-8 only, no duplicate keys, bounded nesting, nothing after the value.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace mora {

// Parses `text`; `source` (a file name, perhaps with a part of it) opens each error. Throws IoError on malformed JSON,
// a duplicate key (formats.md: a DOM parser would keep the last one), nesting over 128, invalid UTF-8 or trailing
// garbage.
nlohmann::json parse_json(std::string_view text, std::string_view source);

// Reads a whole regular file of at most `max_bytes` and parses it. A byte order mark is an error that says so.
nlohmann::json read_json(const std::filesystem::path& file, size_t max_bytes = size_t{256} << 20);

}  // namespace mora
