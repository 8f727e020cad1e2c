// Python's str methods on UTF-8, whose characters are code points. Every string here is valid UTF-8.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mora::jinja {

size_t count_points(std::string_view text);
// The bytes of the first character of `text`, which is not empty.
size_t point_bytes(std::string_view text);
char32_t first_point(std::string_view text);
void append_point(std::string& out, char32_t point);
// Characters [begin, end), clamped to the text.
std::string_view slice_points(std::string_view text, int64_t begin, int64_t end);
// Where each character begins, and the end of the last: count_points + 1 offsets.
std::vector<size_t> point_offsets(std::string_view text);

bool is_space(char32_t point);  // str.isspace
bool is_alpha(char32_t point);
bool is_digit(char32_t point);
bool is_upper(char32_t point);
bool is_lower(char32_t point);

// `chars`: the set of characters to take off; whitespace without one.
std::string_view strip_left(std::string_view text, std::optional<std::string_view> chars = {});
std::string_view strip_right(std::string_view text, std::optional<std::string_view> chars = {});

std::string upper(std::string_view text);
std::string lower(std::string_view text);
std::string capitalize(std::string_view text);
std::string title(std::string_view text);  // str.title: a letter behind no letter is upper case

// str.split / str.rsplit: at runs of whitespace without a separator (which is not empty); at most `most` cuts if it is
// not negative.
std::vector<std::string> split(std::string_view text, std::optional<std::string_view> separator, int64_t most);
std::vector<std::string> split_right(std::string_view text, std::optional<std::string_view> separator, int64_t most);
std::vector<std::string> split_lines(std::string_view text, bool keep_ends);

// str.replace: at most `most` times if it is not negative.
std::string replace(std::string_view text, std::string_view from, std::string_view to, int64_t most);

}  // namespace mora::jinja
