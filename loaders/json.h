// Strict JSON for files from outside: UTF-8 only, no duplicate keys, bounded nesting, nothing after the value.
#pragma once

#include <filesystem>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace mora {

// Parses `text`; `source` (a file name, perhaps with a part of it) opens each error. Throws IoError on malformed JSON,
// a duplicate key (formats.md: a DOM parser would keep the last one), nesting over 128, invalid UTF-8 or trailing
// garbage.
nlohmann::json parse_json(std::string_view text, std::string_view source);

// The same for a text that is an object of very many members: each is given away as it is read, in the file's order, so
// that one is in memory at a time. IoError where the text is no object.
void parse_json_members(std::string_view text, std::string_view source,
                        const std::function<void(const std::string& name, const nlohmann::json& value)>& visit);

// Reads a whole regular file of at most `max_bytes` and parses it. A byte order mark is an error that says so.
nlohmann::json read_json(const std::filesystem::path& file, size_t max_bytes = size_t{256} << 20);

}  // namespace mora
