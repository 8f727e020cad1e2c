#include "loaders/chat_template/python_text.h"

#include <utf8proc.h>

#include <algorithm>

namespace mora::jinja {
namespace {

bool is_line_end(char32_t c) {  // str.splitlines
  return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

utf8proc_category_t category(char32_t c) { return utf8proc_category(static_cast<utf8proc_int32_t>(c)); }

std::string mapped(std::string_view text, utf8proc_int32_t (*map)(utf8proc_int32_t)) {
  std::string out;
  out.reserve(text.size());
  for (; !text.empty(); text.remove_prefix(point_bytes(text)))
    append_point(out, static_cast<char32_t>(map(static_cast<utf8proc_int32_t>(first_point(text)))));
  return out;
}

std::string_view last_point(std::string_view text) {
  size_t at = text.size() - 1;
  while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
  return text.substr(at);
}

bool strips(std::string_view point, std::optional<std::string_view> chars) {
  return chars ? chars->find(point) != std::string_view::npos : is_space(first_point(point));
}

}  // namespace

size_t count_points(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

size_t point_bytes(std::string_view text) {
  const auto first = static_cast<unsigned char>(text[0]);
  const size_t bytes = first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  return std::min(bytes, text.size());
}

char32_t first_point(std::string_view text) {
  const size_t bytes = point_bytes(text);
  const auto first = static_cast<unsigned char>(text[0]);
  char32_t point = bytes == 1 ? first : first & (0xFF >> (bytes + 1));
  for (size_t i = 1; i < bytes; ++i) point = point << 6 | (static_cast<unsigned char>(text[i]) & 0x3F);
  return point;
}

void append_point(std::string& out, char32_t point) {
  utf8proc_uint8_t bytes[4];
  const auto count = utf8proc_encode_char(static_cast<utf8proc_int32_t>(point), bytes);
  out.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(count));
}

std::vector<size_t> point_offsets(std::string_view text) {
  std::vector<size_t> offsets;
  for (size_t at = 0; at < text.size(); at += point_bytes(text.substr(at))) offsets.push_back(at);
  offsets.push_back(text.size());
  return offsets;
}

std::string_view slice_points(std::string_view text, int64_t begin, int64_t end) {
  int64_t at = 0;
  size_t first = text.size(), last = text.size(), offset = 0;
  for (; offset < text.size(); offset += point_bytes(text.substr(offset)), ++at) {
    if (at == begin) first = offset;
    if (at == end) last = offset;
  }
  return first < last ? text.substr(first, last - first) : std::string_view{};
}

bool is_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_alpha(char32_t c) {
  const auto of = category(c);
  return of == UTF8PROC_CATEGORY_LU || of == UTF8PROC_CATEGORY_LL || of == UTF8PROC_CATEGORY_LT ||
         of == UTF8PROC_CATEGORY_LM || of == UTF8PROC_CATEGORY_LO;
}

bool is_digit(char32_t c) { return category(c) == UTF8PROC_CATEGORY_ND; }
bool is_upper(char32_t c) { return category(c) == UTF8PROC_CATEGORY_LU; }
bool is_lower(char32_t c) { return category(c) == UTF8PROC_CATEGORY_LL; }

std::string_view strip_left(std::string_view text, std::optional<std::string_view> chars) {
  while (!text.empty() && strips(text.substr(0, point_bytes(text)), chars)) text.remove_prefix(point_bytes(text));
  return text;
}

std::string_view strip_right(std::string_view text, std::optional<std::string_view> chars) {
  while (!text.empty() && strips(last_point(text), chars)) text.remove_suffix(last_point(text).size());
  return text;
}

std::string upper(std::string_view text) { return mapped(text, utf8proc_toupper); }
std::string lower(std::string_view text) { return mapped(text, utf8proc_tolower); }

std::string capitalize(std::string_view text) {
  if (text.empty()) return {};
  const size_t first = point_bytes(text);
  return mapped(text.substr(0, first), utf8proc_totitle) + lower(text.substr(first));
}

std::string title(std::string_view text) {
  std::string out;
  bool behind_letter = false;
  for (; !text.empty(); text.remove_prefix(point_bytes(text))) {
    const auto point = static_cast<utf8proc_int32_t>(first_point(text));
    append_point(out, static_cast<char32_t>(behind_letter ? utf8proc_tolower(point) : utf8proc_totitle(point)));
    behind_letter = is_upper(first_point(text)) || is_lower(first_point(text));
  }
  return out;
}

std::vector<std::string> split(std::string_view text, std::optional<std::string_view> separator, int64_t most) {
  std::vector<std::string> parts;
  const auto may_cut = [&] { return most < 0 || static_cast<int64_t>(parts.size()) < most; };
  if (separator) {
    for (size_t at; may_cut() && (at = text.find(*separator)) != std::string_view::npos;) {
      parts.emplace_back(text.substr(0, at));
      text.remove_prefix(at + separator->size());
    }
    parts.emplace_back(text);
    return parts;
  }
  for (text = strip_left(text); !text.empty(); text = strip_left(text)) {
    size_t end = 0;
    if (may_cut()) {
      while (end < text.size() && !is_space(first_point(text.substr(end)))) end += point_bytes(text.substr(end));
    } else {
      end = text.size();
    }
    parts.emplace_back(text.substr(0, end));
    text.remove_prefix(end);
  }
  return parts;
}

std::vector<std::string> split_right(std::string_view text, std::optional<std::string_view> separator, int64_t most) {
  std::vector<std::string> parts;
  const auto may_cut = [&] { return most < 0 || static_cast<int64_t>(parts.size()) < most; };
  if (separator) {
    for (size_t at; may_cut() && (at = text.rfind(*separator)) != std::string_view::npos;) {
      parts.emplace_back(text.substr(at + separator->size()));
      text = text.substr(0, at);
    }
    parts.emplace_back(text);
  } else {
    for (text = strip_right(text); !text.empty(); text = strip_right(text)) {
      size_t begin = text.size();
      if (may_cut()) {
        while (begin > 0 && !is_space(first_point(last_point(text.substr(0, begin)))))
          begin -= last_point(text.substr(0, begin)).size();
      } else {
        begin = 0;
      }
      parts.emplace_back(text.substr(begin));
      text = text.substr(0, begin);
    }
  }
  std::reverse(parts.begin(), parts.end());
  return parts;
}

std::vector<std::string> split_lines(std::string_view text, bool keep_ends) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    size_t end = 0;
    while (end < text.size() && !is_line_end(first_point(text.substr(end)))) end += point_bytes(text.substr(end));
    size_t next = end;
    if (end < text.size()) next += text.substr(end).starts_with("\r\n") ? 2 : point_bytes(text.substr(end));
    lines.emplace_back(text.substr(0, keep_ends ? next : end));
    text.remove_prefix(next);
  }
  return lines;
}

std::string replace(std::string_view text, std::string_view from, std::string_view to, int64_t most) {
  std::string out;
  int64_t done = 0;
  const auto may_replace = [&] { return most < 0 || done < most; };
  if (from.empty()) {  // in front of each character and at the end
    for (; !text.empty(); text.remove_prefix(point_bytes(text))) {
      if (may_replace()) ++done, out += to;
      out += text.substr(0, point_bytes(text));
    }
    if (may_replace()) out += to;
    return out;
  }
  for (size_t at; may_replace() && (at = text.find(from)) != std::string_view::npos; ++done) {
    out += text.substr(0, at);
    out += to;
    text.remove_prefix(at + from.size());
  }
  return out += text;
}

}  // namespace mora::jinja
