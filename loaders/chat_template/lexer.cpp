#include "loaders/chat_template/lexer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>

#include "loaders/chat_template/python_text.h"

namespace mora::jinja {
namespace {

bool is_word(char c) {  // every byte of a character beyond ASCII counts as a letter
  return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || static_cast<unsigned char>(c) >= 0x80;
}
bool is_decimal(char c) { return c >= '0' && c <= '9'; }

// \r\n and \r become \n; one newline at the end goes.
std::string normalize_newlines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
      out += '\n';
    } else {
      out += source[i];
    }
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(normalize_newlines(source)), rest_(source_) {}

  std::vector<Token> run() {
    while (!rest_.empty()) read_text();
    tokens_.push_back({Token::Kind::end, "", line_});
    return std::move(tokens_);
  }

 private:
  using Kind = Token::Kind;

  [[noreturn]] void fail(std::string message) const { throw SyntaxError{std::move(message), line_}; }

  void add(Kind kind, std::string text) { tokens_.push_back({kind, std::move(text), line_}); }

  std::string_view take(size_t bytes) {
    const std::string_view taken = rest_.substr(0, bytes);
    line_ += static_cast<int>(std::count(taken.begin(), taken.end(), '\n'));
    rest_.remove_prefix(bytes);
    return taken;
  }

  bool accept(std::string_view text) {
    if (!rest_.starts_with(text)) return false;
    take(text.size());
    return true;
  }

  void skip_spaces() { take(rest_.size() - strip_left(rest_).size()); }

  // Behind a tag that closes with "-" all whitespace goes; behind a block or comment the newline alone.
  void close_tag(bool minus, bool trim_newline) {
    const std::string_view before = rest_;
    if (minus) {
      skip_spaces();
    } else if (trim_newline) {
      accept("\n");
    }
    const size_t skipped = before.size() - rest_.size();
    line_start_ = skipped > 0 && before[skipped - 1] == '\n';
  }

  // Text up to the next tag, the tag's opening, and what is in it.
  void read_text() {
    size_t at = 0;
    while (at = rest_.find('{', at), at != std::string_view::npos) {
      if (at + 1 < rest_.size() && std::string_view("{%#").find(rest_[at + 1]) != std::string_view::npos) break;
      ++at;
    }
    if (at == std::string_view::npos) {
      add(Kind::text, std::string(take(rest_.size())));
      return;
    }
    const char kind = rest_[at + 1];
    const char sign = at + 2 < rest_.size() ? rest_[at + 2] : ' ';
    add_text(at, sign, kind != '{');
    take(sign == '-' || sign == '+' ? 3 : 2);
    if (kind == '#') {
      read_comment();
    } else if (kind == '%') {
      if (!read_raw()) read_tag(Kind::block_begin, Kind::block_end);
    } else {
      read_tag(Kind::print_begin, Kind::print_end);
    }
  }

  // The text in front of a tag that opens with `sign`.
  void add_text(size_t bytes, char sign, bool is_block) {
    const int line = line_;
    std::string_view text = take(bytes);
    if (sign == '-') {
      text = strip_right(text);
    } else if (sign != '+' && is_block) {
      const size_t newline = text.rfind('\n');
      const size_t line_begin = newline == std::string_view::npos ? 0 : newline + 1;
      const bool begins_line = newline != std::string_view::npos || line_start_;
      if (begins_line && strip_left(text.substr(line_begin)).empty()) text = text.substr(0, line_begin);
    }
    if (!text.empty()) tokens_.push_back({Kind::text, std::string(text), line});
    line_start_ = false;
  }

  void read_comment() {
    const size_t end = rest_.find("#}");
    if (end == std::string_view::npos) fail("a comment never closes: missing '#}'");
    const char sign = end > 0 ? rest_[end - 1] : ' ';
    take(end + 2);
    close_tag(sign == '-', sign != '+');
  }

  // {% raw %} … {% endraw %}: text whatever it holds. False if the tag is another one.
  bool read_raw() {
    std::string_view look = strip_left(rest_);
    if (!look.starts_with("raw")) return false;
    look = strip_left(look.substr(3));
    const bool minus = look.starts_with("-%}");
    if (!minus && !look.starts_with("%}")) return false;
    take(rest_.size() - look.size() + (minus ? 3 : 2));
    close_tag(minus, false);
    for (size_t at = 0; at = rest_.find("{%", at), at != std::string_view::npos; ++at) {
      std::string_view tag = rest_.substr(at + 2);
      const char sign = tag.empty() ? ' ' : tag[0];
      if (sign == '-' || sign == '+') tag.remove_prefix(1);
      tag = strip_left(tag);
      if (!tag.starts_with("endraw")) continue;
      tag = strip_left(tag.substr(6));
      const char end_sign = tag.empty() ? ' ' : tag[0];
      if (end_sign == '-' || end_sign == '+') tag.remove_prefix(1);
      if (!tag.starts_with("%}")) continue;
      const size_t behind = rest_.size() - tag.size() + 2;
      add_text(at, sign, true);
      take(behind - at);
      close_tag(end_sign == '-', end_sign != '+');
      return true;
    }
    fail("'raw' never closes: missing {% endraw %}");
  }

  // The tokens of one tag, its end included.
  void read_tag(Kind begin, Kind end) {
    add(begin, "");
    const std::string_view closing = begin == Kind::block_begin ? "%}" : "}}";
    std::string open;  // brackets
    while (true) {
      skip_spaces();
      if (rest_.empty()) fail(fmt::format("a tag never closes: missing '{}'", closing));
      const bool minus = rest_[0] == '-' && rest_.substr(1).starts_with(closing);
      const bool plus = begin == Kind::block_begin && rest_[0] == '+' && rest_.substr(1).starts_with(closing);
      if (open.empty() && (minus || plus || rest_.starts_with(closing))) {
        add(end, "");
        take(closing.size() + (minus || plus ? 1 : 0));
        close_tag(minus, begin == Kind::block_begin && !plus);
        return;
      }
      read_token(open);
    }
  }

  void read_token(std::string& open) {
    const char first = rest_[0];
    if (is_decimal(first)) {
      read_number();
    } else if (is_word(first)) {
      size_t end = 1;
      while (end < rest_.size() && is_word(rest_[end])) ++end;
      add(Kind::name, std::string(rest_.substr(0, end)));
      take(end);
    } else if (first == '"' || first == '\'') {
      read_string(first);
    } else {
      read_operator(open);
    }
  }

  void read_operator(std::string& open) {
    constexpr std::array<std::string_view, 6> kLong = {"//", "**", "==", "!=", ">=", "<="};
    const auto found =
        std::find_if(kLong.begin(), kLong.end(), [&](std::string_view op) { return rest_.starts_with(op); });
    const std::string op(found == kLong.end() ? rest_.substr(0, 1) : *found);
    if (op.size() == 1 && std::string_view("+-/*%~[](){}<>=.:|,").find(op) == std::string_view::npos)
      fail(fmt::format("unexpected character '{}'", rest_.substr(0, point_bytes(rest_))));
    if (op == "(" || op == "[" || op == "{") open += op == "(" ? ')' : op == "[" ? ']' : '}';
    if (op == ")" || op == "]" || op == "}") {
      if (!open.ends_with(op))
        fail(fmt::format("unexpected '{}'{}", op, open.empty() ? "" : fmt::format(", expected '{}'", open.back())));
      open.pop_back();
    }
    add(Kind::op, op);
    take(op.size());
  }

  size_t digits(size_t at) const {  // "12_000": the end of the run that begins at `at`
    while (at < rest_.size() &&
           (is_decimal(rest_[at]) || (rest_[at] == '_' && at + 1 < rest_.size() && is_decimal(rest_[at + 1]))))
      ++at;
    return at;
  }

  void read_number() {
    size_t end = digits(0);
    bool floating = false;
    const bool behind_dot = !tokens_.empty() && tokens_.back().kind == Kind::op && tokens_.back().text == ".";
    if (!behind_dot) {
      if (end + 1 < rest_.size() && rest_[end] == '.' && is_decimal(rest_[end + 1])) {
        floating = true;
        end = digits(end + 1);
      }
      size_t exponent = end;
      if (exponent < rest_.size() && (rest_[exponent] == 'e' || rest_[exponent] == 'E')) {
        ++exponent;
        if (exponent < rest_.size() && (rest_[exponent] == '+' || rest_[exponent] == '-')) ++exponent;
        if (digits(exponent) > exponent) {
          floating = true;
          end = digits(exponent);
        }
      }
    }
    std::string text(rest_.substr(0, end));
    std::erase(text, '_');
    add(floating ? Kind::floating : Kind::integer, std::move(text));
    take(end);
  }

  void read_string(char quote) {
    size_t end = 1;
    while (end < rest_.size() && rest_[end] != quote) end += rest_[end] == '\\' ? 2 : 1;
    if (end >= rest_.size()) fail("a string never closes");
    add(Kind::string, unescape(rest_.substr(1, end - 1)));
    take(end + 1);
  }

  // Python's escapes; an unknown one stands for itself, backslash and all.
  std::string unescape(std::string_view text) const {
    constexpr std::string_view kNames = "abfnrtv\\'\"", kValues = "\a\b\f\n\r\t\v\\'\"";
    std::string out;
    for (size_t i = 0; i < text.size(); ++i) {
      if (text[i] != '\\') {
        out += text[i];
        continue;
      }
      const char escape = text[++i];
      const size_t simple = kNames.find(escape);
      if (simple != std::string_view::npos) {
        out += kValues[simple];
      } else if (escape == 'x' || escape == 'u' || escape == 'U') {
        const size_t count = escape == 'x' ? 2 : escape == 'u' ? 4 : 8;
        append_code(out, text.substr(i + 1, count), count, 16);
        i += count;
      } else if (escape >= '0' && escape <= '7') {
        size_t count = 1;
        while (count < 3 && i + count < text.size() && text[i + count] >= '0' && text[i + count] <= '7') ++count;
        append_code(out, text.substr(i, count), count, 8);
        i += count - 1;
      } else if (escape != '\n') {
        out += '\\';
        out += escape;
      }
    }
    return out;
  }

  void append_code(std::string& out, std::string_view digits, size_t count, int base) const {
    uint32_t code = 0;
    for (const char c : digits) {
      const int digit = is_decimal(c)                                  ? c - '0'
                        : std::isxdigit(static_cast<unsigned char>(c)) ? (c | 0x20) - 'a' + 10
                                                                       : 99;
      if (digit >= base) fail(fmt::format("'\\{}' is no escape of a string", digits));
      code = code * static_cast<uint32_t>(base) + static_cast<uint32_t>(digit);
    }
    if (digits.size() < count || code > 0x10FFFF) fail(fmt::format("'\\{}' is no escape of a string", digits));
    append_point(out, code >= 0xD800 && code <= 0xDFFF ? 0xFFFD : code);
  }

  std::string source_;
  std::string_view rest_;
  std::vector<Token> tokens_;
  int line_ = 1;
  bool line_start_ = true;  // whether the text that follows begins a line
};

}  // namespace

std::vector<Token> tokenize(std::string_view source) { return Lexer(source).run(); }

}  // namespace mora::jinja
