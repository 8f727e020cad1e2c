#include "loaders/tokenizer/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <bitset>
#include <memory>
#include <span>
#include <vector>

#include "engine/error.h"
#include "loaders/tokenizer/codepoint.h"
#include "loaders/tokenizer/unicode_overrides.h"

namespace mora::tokenizer {
namespace {

bool contains(std::span<const CodeRange> ranges, char32_t code) {
  const auto after = std::upper_bound(ranges.begin(), ranges.end(), code,
                                      [](char32_t value, const CodeRange& range) { return value < range.first; });
  return after != ranges.begin() && code <= std::prev(after)->last;
}

struct Override {
  CharFlag flag;
  bool value;
  std::span<const CodeRange> ranges;
};
const Override kOverrides[] = {
    {kLetter, true, kLetterAlso},
    {kNumber, true, kNumberAlso},
    {kNumeric, true, kNumericAlso},
    {kControl, false, kControlNot},
    {kNonspacing, true, kNonspacingAlso},
    {kNonspacing, false, kNonspacingNot},
    {kMark, true, kMarkAlso},
    {kMark, false, kMarkNot},
    {kPunctuation, true, kPunctuationAlso},
    {kPunctuation, false, kPunctuationNot},
    {kWord, true, kWordAlso},
};

bool is_white_space(char32_t code) {
  return (code >= 9 && code <= 13) || code == 0x20 || code == 0x85 || code == 0xA0 || code == 0x1680 ||
         (code >= 0x2000 && code <= 0x200A) || code == 0x2028 || code == 0x2029 || code == 0x202F || code == 0x205F ||
         code == 0x3000;
}

// The ranges that BERT's original code lists, with the reference's slip: 0x2B920, where the block begins at 0x2B820.
constexpr CodeRange kIdeographs[] = {{0x3400, 0x4DBF},   {0x4E00, 0x9FFF},   {0xF900, 0xFAFF},   {0x20000, 0x2A6DF},
                                     {0x2A700, 0x2B73F}, {0x2B740, 0x2B81F}, {0x2B920, 0x2CEAF}, {0x2F800, 0x2FA1F}};

// Alphabetic characters of general category So.
constexpr CodeRange kCircledLetters[] = {{0x24B6, 0x24E9}, {0x1F130, 0x1F149}, {0x1F150, 0x1F169}, {0x1F170, 0x1F189}};

uint16_t category_flags(char32_t code) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(code))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO: return kLetter | kWord;
    case UTF8PROC_CATEGORY_MN: return kNonspacing | kMark | kWord;
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME: return kMark | kWord;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL: return kNumber | kNumeric | kWord;
    case UTF8PROC_CATEGORY_NO: return kNumber | kNumeric;
    case UTF8PROC_CATEGORY_PC: return kPunctuation | kWord;
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PO: return kPunctuation;
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CO: return kControl;
    default: return 0;
  }
}

}  // namespace

uint16_t compute_char_flags(char32_t code) {
  unsigned flags = category_flags(code);
  if (is_white_space(code)) flags |= kSpace;
  if (code == '\t' || code == '\n' || code == '\r') flags &= ~unsigned{kControl};
  if (code == 0xFFFD) flags |= kControl;
  if (code == 0x200C || code == 0x200D || contains(kCircledLetters, code)) flags |= kWord;
  if (code > 0x20 && code < 0x7F && !(flags & (kLetter | kNumber))) flags |= kPunctuation;
  if (contains(kIdeographs, code)) flags |= kIdeograph;
  for (const Override& override : kOverrides) {
    if (!contains(override.ranges, code)) continue;
    flags = override.value ? flags | override.flag : flags & ~unsigned{override.flag};
  }
  return static_cast<uint16_t>(flags);
}

const uint16_t* char_flag_table() {
  static const std::vector<uint16_t> table = [] {
    std::vector<uint16_t> flags(kTableCodes);
    for (char32_t code = 0; code < kTableCodes; ++code) flags[code] = compute_char_flags(code);
    return flags;
  }();
  return table.data();
}

void append_lowercase(std::string& out, char32_t code) {
  if (code < 0x80) {
    out += static_cast<char>(code >= 'A' && code <= 'Z' ? code + 32 : code);
    return;
  }
  if (code == 0x130) {  // the only one whose lowercase is two characters
    out += "i\u0307";
    return;
  }
  for (const LowercaseRange& range : kLowercaseAlso) {
    if (code >= range.first && code <= range.last) return append_utf8(out, code - range.first + range.to);
  }
  append_utf8(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(code))));
}

void append_lowercase(std::string& out, std::string_view text) {
  for (size_t at = 0; at < text.size();) append_lowercase(out, next_codepoint(text, at));
}

namespace {

int combining_class(char32_t code) {
  return contains(kStarters, code) ? 0 : utf8proc_get_property(static_cast<utf8proc_int32_t>(code))->combining_class;
}

// The full decomposition of one code point, behind `out`.
void append_decomposition(std::vector<utf8proc_int32_t>& out, char32_t code, bool compatibility) {
  if (contains(kUndecomposed, code)) return out.push_back(static_cast<utf8proc_int32_t>(code));
  utf8proc_int32_t buffer[32];  // the longest decomposition has 18
  int boundary = 0;
  const int options = UTF8PROC_DECOMPOSE | UTF8PROC_STABLE | (compatibility ? UTF8PROC_COMPAT : 0);
  const auto length = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(code), buffer, 32,
                                              static_cast<utf8proc_option_t>(options), &boundary);
  invariant(length >= 0 && length <= 32, "utf8proc_decompose_char(U+{:X}): {}", static_cast<uint32_t>(code), length);
  out.insert(out.end(), buffer, buffer + length);
}

// Canonical ordering: each run of marks sorted by class, equal ones as they stood (utf8proc's own is quadratic).
void sort_marks(std::vector<utf8proc_int32_t>& codes) {
  const auto mark_class = [](utf8proc_int32_t code) { return combining_class(static_cast<char32_t>(code)); };
  for (size_t i = 0; i < codes.size(); ++i) {
    if (mark_class(codes[i]) == 0) continue;
    size_t end = i + 1;
    while (end < codes.size() && mark_class(codes[end]) != 0) ++end;
    std::stable_sort(codes.begin() + static_cast<ptrdiff_t>(i), codes.begin() + static_cast<ptrdiff_t>(end),
                     [&](auto a, auto b) { return mark_class(a) < mark_class(b); });
    i = end - 1;
  }
}

struct FormOptions {
  bool compose, compatibility;
};
constexpr FormOptions kForms[] = {{false, false}, {true, false}, {false, true}, {true, true}};

// `text` decomposed, sorted and, if the form says so, composed.
void append_rewritten(std::string& out, std::string_view text, FormOptions form) {
  std::vector<utf8proc_int32_t> codes;
  for (size_t at = 0; at < text.size();) append_decomposition(codes, next_codepoint(text, at), form.compatibility);
  sort_marks(codes);
  auto length = static_cast<utf8proc_ssize_t>(codes.size());
  if (form.compose) {
    const int options = UTF8PROC_COMPOSE | UTF8PROC_STABLE;
    length = utf8proc_normalize_utf32(codes.data(), length, static_cast<utf8proc_option_t>(options));
    invariant(length >= 0, "utf8proc_normalize_utf32: {}", length);
  }
  for (utf8proc_ssize_t i = 0; i < length; ++i) append_utf8(out, static_cast<char32_t>(codes[static_cast<size_t>(i)]));
}

// Whether a code point is inert in a form: alone it is unchanged, no mark moves across it, and it never composes with
// what stands before it. (Everything that does is a mark or a Hangul vowel or final consonant.)
bool compute_inert(char32_t code, FormOptions form) {
  if (code < 0x80) return true;
  if (code >= 0xD800 && code < 0xE000) return true;
  if ((char_flags(code) & kMark) != 0 || combining_class(code) != 0) return false;
  if (utf8proc_get_property(static_cast<utf8proc_int32_t>(code))->combining_class != 0) return false;
  if (utf8proc_category(static_cast<utf8proc_int32_t>(code)) == UTF8PROC_CATEGORY_MC) return false;
  if ((code >= 0x1161 && code <= 0x1175) || (code >= 0x11A8 && code <= 0x11C2)) return false;
  std::string before, after;
  append_utf8(before, code);
  append_rewritten(after, before, form);
  return before == after;
}

using InertTable = std::bitset<kTableCodes>;

const InertTable& inert_table(NormalForm form) {
  static const auto compute = [](FormOptions options) {
    auto table = std::make_unique<InertTable>();
    for (char32_t code = 0; code < kTableCodes; ++code) table->set(code, compute_inert(code, options));
    return table;
  };
  switch (form) {
    case NormalForm::kNfd: {
      static const auto table = compute(kForms[0]);
      return *table;
    }
    case NormalForm::kNfc: {
      static const auto table = compute(kForms[1]);
      return *table;
    }
    case NormalForm::kNfkd: {
      static const auto table = compute(kForms[2]);
      return *table;
    }
    case NormalForm::kNfkc: {
      static const auto table = compute(kForms[3]);
      return *table;
    }
  }
  invariant(false, "normal form {}", static_cast<int>(form));
  std::abort();
}

}  // namespace

void append_normalized(std::string& out, std::string_view text, NormalForm form) {
  const InertTable& inert = inert_table(form);
  const auto is_inert = [&](char32_t code) { return code < kTableCodes && inert.test(code); };
  size_t copied = 0;  // what stands before is in `out`
  for (size_t at = ascii_prefix(text); at < text.size();) {
    size_t next = at;
    if (is_inert(next_codepoint(text, next))) {
      at = next;
      continue;
    }
    const size_t begin = at > copied ? previous_boundary(text, at) : at;  // the character before may compose with it
    while (next < text.size()) {                                          // up to the next inert character
      size_t after = next;
      if (is_inert(next_codepoint(text, after))) break;
      next = after;
    }
    out.append(text, copied, begin - copied);
    append_rewritten(out, text.substr(begin, next - begin), kForms[static_cast<size_t>(form)]);
    copied = at = next;
  }
  out.append(text, copied);
}

}  // namespace mora::tokenizer
