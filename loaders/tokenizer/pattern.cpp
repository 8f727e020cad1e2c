#include "loaders/tokenizer/pattern.h"

#include <algorithm>

#include "loaders/quote.h"
#include "loaders/tokenizer/codepoint.h"
#include "loaders/tokenizer/gpt_scanner.h"
#include "loaders/tokenizer/regex.h"
#include "loaders/tokenizer/unicode.h"

namespace mora::tokenizer {
namespace {

void append_stretch(std::vector<Stretch>& out, size_t begin, size_t end, bool match) {
  out.push_back({static_cast<uint32_t>(begin), static_cast<uint32_t>(end), match});
}

class CharacterClass : public Pattern {
 public:
  explicit CharacterClass(uint16_t flags) : flags_(flags) {}

  void divide(std::string_view text, std::vector<Stretch>& out) const override {
    size_t rest = 0;
    for (size_t at = 0; at < text.size();) {
      const size_t begin = at;
      if ((char_flags(next_codepoint(text, at)) & flags_) == 0) continue;
      if (rest < begin) append_stretch(out, rest, begin, false);
      append_stretch(out, begin, at, true);
      rest = at;
    }
    if (rest < text.size()) append_stretch(out, rest, text.size(), false);
  }

 private:
  uint16_t flags_;
};

class Literal : public Pattern {
 public:
  explicit Literal(std::string text) : text_(std::move(text)) {}

  void divide(std::string_view text, std::vector<Stretch>& out) const override {
    size_t rest = 0;
    for (size_t at = text.find(text_); at != std::string_view::npos; at = text.find(text_, rest)) {
      if (rest < at) append_stretch(out, rest, at, false);
      append_stretch(out, at, at + text_.size(), true);
      rest = at + text_.size();
    }
    if (rest < text.size()) append_stretch(out, rest, text.size(), false);
  }

 private:
  std::string text_;
};

}  // namespace

std::unique_ptr<Pattern> character_class(uint16_t flags) { return std::make_unique<CharacterClass>(flags); }

std::unique_ptr<Pattern> literal(std::string text) { return std::make_unique<Literal>(std::move(text)); }

std::unique_ptr<Pattern> read_pattern(const JsonField& field) {
  if (const auto string = field.find("String")) {
    if (string->text().empty()) throw string->error("the pattern is empty");
    return literal(string->text());
  }
  const auto regex = field.find("Regex");
  if (!regex) throw field.error("expected {{\"String\": …}} or {{\"Regex\": …}}");
  if (auto scanner = gpt_scanner(regex->text())) return scanner;
  return compile_regex(regex->text(), regex->name());
}

SplitBehavior read_split_behavior(const JsonField& field) {
  const std::string name = field.text();
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  throw field.error(
      "unknown behavior {}; Removed, Isolated, MergedWithPrevious, MergedWithNext and Contiguous are supported",
      quote(name));
}

void apply_split_behavior(SplitBehavior behavior, std::vector<Stretch>& stretches, std::vector<Span>& pieces) {
  const size_t first = pieces.size();
  bool previous = false;  // whether the stretch before was a match
  switch (behavior) {
    case SplitBehavior::kRemoved:
      for (const Stretch& each : stretches) {
        if (!each.match) pieces.push_back({each.begin, each.end});
      }
      return;
    case SplitBehavior::kIsolated:
      for (const Stretch& each : stretches) pieces.push_back({each.begin, each.end});
      return;
    case SplitBehavior::kContiguous:
    case SplitBehavior::kMergedWithPrevious:
      for (const Stretch& each : stretches) {
        const bool joins = behavior == SplitBehavior::kContiguous ? each.match == previous : each.match && !previous;
        if (joins && pieces.size() > first) {
          pieces.back().end = each.end;
        } else {
          pieces.push_back({each.begin, each.end});
        }
        previous = each.match;
      }
      return;
    case SplitBehavior::kMergedWithNext:
      for (auto each = stretches.rbegin(); each != stretches.rend(); ++each) {
        if (each->match && !previous && pieces.size() > first) {
          pieces.back().begin = each->begin;
        } else {
          pieces.push_back({each->begin, each->end});
        }
        previous = each->match;
      }
      std::reverse(pieces.begin() + static_cast<ptrdiff_t>(first), pieces.end());
  }
}

}  // namespace mora::tokenizer
