#include "loaders/tokenizer/gpt_scanner.h"

#include <limits>

#include "loaders/tokenizer/codepoint.h"
#include "loaders/tokenizer/unicode.h"

namespace mora::tokenizer {
namespace {

// One pass over a text. Each method tries an alternative of the regular expression at `at` and returns the end of its
// match, or `at` if there is none.
struct Scan {
  std::string_view text;

  uint16_t flags_at(size_t at) const { return char_flags(codepoint_at(text, at)); }
  bool at_end(size_t at) const { return at >= text.size(); }

  // The end of the longest run, of at most `limit` characters, of those whose flags among `mask` are `value`.
  size_t run(size_t at, unsigned mask, bool any, size_t limit = std::numeric_limits<size_t>::max()) const {
    while (!at_end(at) && limit-- > 0) {
      size_t next = at;
      if (((char_flags(next_codepoint(text, next)) & mask) != 0) != any) break;
      at = next;
    }
    return at;
  }
  size_t letters(size_t at) const { return run(at, kLetter, true); }
  size_t symbols(size_t at) const { return run(at, kSpace | kLetter | kNumber, false); }  // [^\s\p{L}\p{N}]+

  size_t newlines(size_t at) const {  // [\r\n]*
    while (!at_end(at) && (text[at] == '\r' || text[at] == '\n')) ++at;
    return at;
  }

  size_t contraction(size_t at, bool ignore_case) const {  // 's|'t|'re|'ve|'m|'ll|'d
    if (text[at] != '\'') return at;
    const auto letter = [&](size_t i) -> char {
      if (at + i >= text.size()) return 0;
      const char c = text[at + i];
      return ignore_case && c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    };
    const char one = letter(1), two = letter(2);
    if (one == 's' || one == 't' || one == 'm' || one == 'd') return at + 2;
    if (((one == 'r' || one == 'v') && two == 'e') || (one == 'l' && two == 'l')) return at + 3;
    if (ignore_case && text.substr(at + 1).starts_with("\u017F")) return at + 3;  // ſ, whose other case is s
    return at;
  }

  // \s+(?!\S)|\s+ at whitespace: its last character is left to what follows, if something does.
  size_t whitespace(size_t at) const {
    const size_t end = run(at, kSpace, true);
    if (at_end(end)) return end;
    const size_t last = previous_boundary(text, end);
    return last > at ? last : end;
  }
};

class Gpt2Scanner : public Pattern {
 public:
  void divide(std::string_view text, std::vector<Stretch>& out) const override {
    const Scan scan{text};
    for (size_t at = 0; at < text.size();) {
      const size_t end = token_end(scan, at);
      out.push_back({static_cast<uint32_t>(at), static_cast<uint32_t>(end), true});
      at = end;
    }
  }

 private:
  static size_t token_end(const Scan& scan, size_t at) {
    if (const size_t end = scan.contraction(at, false); end > at) return end;
    const size_t word = at + (scan.text[at] == ' ' ? 1 : 0);
    if (scan.at_end(word)) return word;
    const uint16_t flags = scan.flags_at(word);
    if (flags & kLetter) return scan.letters(word);
    if (flags & kNumber) return scan.run(word, kNumber, true);
    if (!(flags & kSpace)) return scan.symbols(word);
    return scan.whitespace(at);
  }
};

class Llama3Scanner : public Pattern {
 public:
  explicit Llama3Scanner(size_t digits) : digits_(digits) {}

  void divide(std::string_view text, std::vector<Stretch>& out) const override {
    const Scan scan{text};
    for (size_t at = 0; at < text.size();) {
      const size_t end = token_end(scan, at);
      out.push_back({static_cast<uint32_t>(at), static_cast<uint32_t>(end), true});
      at = end;
    }
  }

 private:
  size_t token_end(const Scan& scan, size_t at) const {
    if (const size_t end = scan.contraction(at, true); end > at) return end;
    size_t second = at;
    const char32_t code = next_codepoint(scan.text, second);
    const uint16_t flags = char_flags(code);
    if (flags & kLetter) return scan.letters(at);
    if (flags & kNumber) return scan.run(at, kNumber, true, digits_);
    const bool newline = code == '\r' || code == '\n';
    if (!newline && !scan.at_end(second) && (scan.flags_at(second) & kLetter)) return scan.letters(second);
    const size_t symbol = at + (code == ' ' ? 1 : 0);
    if (const size_t end = scan.symbols(symbol); end > symbol) return scan.newlines(end);
    return spaces_end(scan, at);
  }

  // \s*[\r\n]+|\s+(?!\S)|\s+ at whitespace: up to the last line end in it, if there is one.
  static size_t spaces_end(const Scan& scan, size_t at) {
    const size_t end = scan.run(at, kSpace, true);
    const size_t last = scan.text.substr(at, end - at).find_last_of("\r\n");
    return last == std::string_view::npos ? scan.whitespace(at) : at + last + 1;
  }

  size_t digits_;  // in one token
};

}  // namespace

std::unique_ptr<Pattern> gpt_scanner(std::string_view regex) {
  if (regex == kGpt2Regex) return std::make_unique<Gpt2Scanner>();
  if (regex == kLlama3Regex) return std::make_unique<Llama3Scanner>(3);
  if (regex == kQwen2Regex) return std::make_unique<Llama3Scanner>(1);
  return nullptr;
}

}  // namespace mora::tokenizer
