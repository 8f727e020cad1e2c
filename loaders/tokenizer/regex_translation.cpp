#include <algorithm>
#include <cctype>
#include <iterator>

#include "engine/error.h"
#include "loaders/quote.h"
#include "loaders/tokenizer/regex.h"

namespace mora::tokenizer {
namespace {

// The insides of character classes. PCRE2's \s has U+180E too, and its \w lacks marks.
constexpr std::string_view kSpaceSet =
    R"(\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
constexpr std::string_view kWordSet = R"(\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}\x{b2}\x{b3}\x{b9}\x{bc}-\x{be}\x{24b6}-\x{24e9})";
constexpr std::string_view kHexSet = "0-9A-Fa-f";

constexpr std::string_view kCategories[] = {"L",  "Lu", "Ll", "Lt", "Lm", "Lo", "M",  "Mn", "Mc", "Me", "N",  "Nd",
                                            "Nl", "No", "P",  "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "S",  "Sm",
                                            "Sc", "Sk", "So", "Z",  "Zs", "Zl", "Zp", "C",  "Cc", "Cf", "Cn", "Co"};
constexpr std::string_view kScripts[] = {"Arabic",   "Armenian", "Bengali",   "Bopomofo",  "Cyrillic", "Devanagari",
                                         "Ethiopic", "Georgian", "Greek",     "Gujarati",  "Gurmukhi", "Han",
                                         "Hangul",   "Hebrew",   "Hiragana",  "Kannada",   "Katakana", "Khmer",
                                         "Lao",      "Latin",    "Malayalam", "Mongolian", "Myanmar",  "Oriya",
                                         "Sinhala",  "Tamil",    "Telugu",    "Thai",      "Tibetan"};

class Translation {
 public:
  Translation(std::string_view expression, const std::string& name) : in_(expression), name_(name) {}

  std::string run() {
    while (at_ < in_.size()) {
      switch (in_[at_]) {
        case '\\': escape(false); break;
        case '[': character_class(); break;
        case '(': group(); break;
        case '{': interval(); break;
        case '^':  // Ruby's anchors are those of lines
        case '$': out_ += fmt::format("(?m:{})", in_[at_++]); break;
        default: out_ += in_[at_++];
      }
    }
    return std::move(out_);
  }

 private:
  [[noreturn]] void unsupported(std::string_view construct) const {
    fail<IoError>("{}: {} in the regular expression {} is not supported", name_, quote(construct), quote(in_));
  }

  char peek(size_t ahead = 0) const { return at_ + ahead < in_.size() ? in_[at_ + ahead] : '\0'; }

  void set(std::string_view members, bool negated, bool in_class) {
    if (in_class) {
      out_ += members;
    } else {
      out_ += fmt::format("[{}{}]", negated ? "^" : "", members);
    }
  }

  void escape(bool in_class) {
    const char kind = peek(1);
    const std::string_view both = in_.substr(at_, 2);
    at_ += 2;
    switch (kind) {
      case 's': return set(kSpaceSet, false, in_class);
      case 'S':
        if (!in_class) return set(kSpaceSet, true, false);
        out_ += R"(\S\x{180e})";
        return;
      case 'w': return set(kWordSet, false, in_class);
      case 'h': return set(kHexSet, false, in_class);
      case 'd': out_ += R"(\p{Nd})"; return;
      case 'D': out_ += R"(\P{Nd})"; return;
      case 'W':
      case 'H':
        if (in_class) unsupported(both);
        return set(kind == 'W' ? kWordSet : kHexSet, true, false);
      case 'v': out_ += R"(\x{b})"; return;
      case 'p':
      case 'P': return property(kind == 'P');
      case 'x': return hexadecimal();
      case 'u': return unicode();
      case 'A':
      case 'z':
      case 'Z':
        if (in_class) unsupported(both);
        out_ += both;
        return;
      default:
        if (kind == '\0') unsupported("\\");
        if (std::isalnum(static_cast<unsigned char>(kind)) && std::string_view("nrtfae").find(kind) == both.npos) {
          unsupported(both);
        }
        out_ += both;
    }
  }

  void property(bool negated) {
    const size_t close = in_.find('}', at_);
    if (peek() != '{' || close == in_.npos) unsupported(in_.substr(at_ - 2, 3));
    std::string_view value = in_.substr(at_ + 1, close - at_ - 1);
    const std::string_view whole = in_.substr(at_ - 2, close + 1 - (at_ - 2));
    at_ = close + 1;
    if (value.starts_with('^')) {
      negated = !negated;
      value.remove_prefix(1);
    }
    const bool category = std::find(std::begin(kCategories), std::end(kCategories), value) != std::end(kCategories);
    const bool script = std::find(std::begin(kScripts), std::end(kScripts), value) != std::end(kScripts);
    if (!category && !script) unsupported(whole);
    out_ += fmt::format("\\{}{{{}{}}}", negated ? 'P' : 'p', script ? "sc:" : "", value);
  }

  void code_point(std::string_view digits, std::string_view whole) {
    const bool hexadecimal =
        std::all_of(digits.begin(), digits.end(), [](unsigned char c) { return std::isxdigit(c); });
    if (digits.empty() || digits.size() > 6 || !hexadecimal) unsupported(whole);
    out_ += fmt::format("\\x{{{}}}", digits);
  }

  void hexadecimal() {
    if (peek() == '{') {
      const size_t close = std::min(in_.find('}', at_), in_.size() - 1);
      code_point(in_.substr(at_ + 1, close - at_ - 1), in_.substr(at_ - 2, close + 3 - at_));
      at_ = close + 1;
      return;
    }
    const std::string_view digits = in_.substr(at_, 2);
    if (digits.size() < 2 || digits[0] > '7') unsupported(in_.substr(at_ - 2, 4));  // a byte beyond ASCII, there
    code_point(digits, in_.substr(at_ - 2, 4));
    at_ += 2;
  }

  void unicode() {
    const std::string_view digits = in_.substr(at_, 4);
    if (digits.size() < 4) unsupported(in_.substr(at_ - 2));
    code_point(digits, in_.substr(at_ - 2, 6));
    at_ += 4;
  }

  // A class inside a class adds its members (as in BLOOM's pattern), which here just join the others.
  void character_class() {
    const size_t begin = at_;
    out_ += in_[at_++];
    if (peek() == '^') out_ += in_[at_++];
    if (peek() == ']') out_ += fmt::format("\\{}", in_[at_++]);
    for (size_t depth = 1; depth > 0;) {
      if (at_ >= in_.size()) unsupported(in_.substr(begin));
      if (peek() == '&' && peek(1) == '&') unsupported("&&");
      if (peek() == '\\') {
        escape(true);
      } else if (peek() == '[') {
        if (peek(1) == '^' || peek(1) == ':' || peek(1) == ']' || out_.back() == '-') unsupported(in_.substr(at_, 3));
        ++depth;
        ++at_;
      } else if (peek() == ']' && --depth > 0) {
        if (peek(1) == '-') unsupported("]-");
        ++at_;
      } else {
        out_ += in_[at_++];
      }
    }
  }

  void group() {
    if (peek(1) == '*') unsupported("(*");
    if (peek(1) != '?') {
      out_ += in_[at_++];
      return;
    }
    constexpr std::string_view kGroups[] = {"(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!", "(?i:", "(?-i:"};
    for (const std::string_view each : kGroups) {
      if (!in_.substr(at_).starts_with(each)) continue;
      out_ += each;
      at_ += each.size();
      return;
    }
    // Ruby's "(?i)" reaches over the alternatives that follow, as PCRE2's does only at the start.
    if (at_ != 0 || !in_.starts_with("(?i)")) unsupported(in_.substr(at_, 4));
    out_ += "(?i)";
    at_ += 4;
  }

  // {n}, {n,}, {n,m} and {,m}; any other brace is a brace.
  void interval() {
    const size_t close = in_.find('}', at_);
    const std::string_view inside = close == in_.npos ? "" : in_.substr(at_ + 1, close - at_ - 1);
    const size_t comma = inside.find(',');
    const std::string_view low = inside.substr(0, comma);
    const std::string_view high = comma == inside.npos ? low : inside.substr(comma + 1);
    const auto digits = [](std::string_view text) {
      return std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isdigit(c); });
    };
    if (!digits(low) || !digits(high) || (low.empty() && high.empty())) {
      out_ += "\\{";
      ++at_;
      return;
    }
    const std::string_view least = low.empty() ? "0" : low;
    out_ += comma == inside.npos ? fmt::format("{{{}}}", least) : fmt::format("{{{},{}}}", least, high);
    at_ = close + 1;
    if (peek() == '+' || (peek() == '?' && comma == inside.npos)) {  // nested quantifiers in Ruby, modifiers in PCRE2
      unsupported(in_.substr(close - inside.size() - 1, inside.size() + 3));
    }
  }

  std::string_view in_;
  const std::string& name_;
  std::string out_;
  size_t at_ = 0;
};

}  // namespace

std::string translate_oniguruma(std::string_view expression, const std::string& name) {
  return Translation(expression, name).run();
}

}  // namespace mora::tokenizer
