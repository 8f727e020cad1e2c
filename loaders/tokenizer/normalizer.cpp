#include "loaders/tokenizer/normalizer.h"

#include <array>
#include <string_view>

#include "loaders/quote.h"
#include "loaders/tokenizer/byte_alphabet.h"
#include "loaders/tokenizer/codepoint.h"
#include "loaders/tokenizer/pattern.h"
#include "loaders/tokenizer/unicode.h"

namespace mora::tokenizer {
namespace {

// Devlin et al. 2019, tokenization.py, BasicTokenizer: clean, pad ideographs with spaces, strip accents, lowercase.
class BertNormalizer : public NormalizerStage {
 public:
  explicit BertNormalizer(const JsonField& field)
      : clean_(field.boolean_or("clean_text", true)),
        ideographs_(field.boolean_or("handle_chinese_chars", true)),
        lowercase_(field.boolean_or("lowercase", true)),
        strip_accents_(field.boolean_or("strip_accents", lowercase_)) {
    for (char32_t code = 0; code < 0x80; ++code) {
      ascii_[code] = static_cast<char>(lowercase_ && code >= 'A' && code <= 'Z' ? code + 32 : code);
      if (clean_ && is_space(code)) ascii_[code] = ' ';
      dropped_[code] = clean_ && (char_flags(code) & kControl) != 0;
    }
  }

  void apply(std::string& text, std::string& scratch) const override {
    scratch.clear();
    scratch.reserve(text.size());
    const std::string_view view = text;
    for (size_t at = 0; at < view.size();) {
      if (const auto byte = static_cast<uint8_t>(view[at]); byte < 0x80) {
        if (!dropped_[byte]) scratch += ascii_[byte];
        ++at;
        continue;
      }
      // No decomposition or reordering reaches over an ASCII character.
      std::string run;
      while (at < view.size() && (static_cast<uint8_t>(view[at]) >= 0x80 || dropped_[static_cast<uint8_t>(view[at])])) {
        append_cleaned(run, next_codepoint(view, at));
      }
      append_folded(scratch, run);
    }
    text.swap(scratch);
  }

 private:
  void append_cleaned(std::string& out, char32_t code) const {
    const uint16_t flags = char_flags(code);
    if (clean_ && (flags & kControl)) return;
    if (clean_ && (flags & kSpace)) code = ' ';
    const bool pad = ideographs_ && (flags & kIdeograph) != 0;
    if (pad) out += ' ';
    append_utf8(out, code);
    if (pad) out += ' ';
  }

  void append_folded(std::string& out, const std::string& run) const {
    std::string decomposed;
    if (strip_accents_) append_normalized(decomposed, run, NormalForm::kNfd);
    const std::string_view source = strip_accents_ ? std::string_view(decomposed) : std::string_view(run);
    for (size_t at = 0; at < source.size();) {
      const char32_t code = next_codepoint(source, at);
      if (strip_accents_ && (char_flags(code) & kNonspacing)) continue;
      if (lowercase_) {
        append_lowercase(out, code);
      } else {
        append_utf8(out, code);
      }
    }
  }

  bool clean_, ideographs_, lowercase_, strip_accents_;
  std::array<char, 0x80> ascii_{};
  std::array<bool, 0x80> dropped_{};
};

class UnicodeNormalizer : public NormalizerStage {
 public:
  explicit UnicodeNormalizer(NormalForm form) : form_(form) {}

  void apply(std::string& text, std::string& scratch) const override {
    if (ascii_prefix(text) == text.size()) return;
    scratch.clear();
    append_normalized(scratch, text, form_);
    text.swap(scratch);
  }

 private:
  NormalForm form_;
};

class Lowercase : public NormalizerStage {
 public:
  void apply(std::string& text, std::string& scratch) const override {
    scratch.clear();
    append_lowercase(scratch, text);
    text.swap(scratch);
  }
};

class StripAccents : public NormalizerStage {  // marks that stand alone; NFD comes before it
 public:
  void apply(std::string& text, std::string& scratch) const override {
    if (ascii_prefix(text) == text.size()) return;
    scratch.clear();
    for (size_t at = 0; at < text.size();) {
      const char32_t code = next_codepoint(text, at);
      if (!(char_flags(code) & kMark)) append_utf8(scratch, code);
    }
    text.swap(scratch);
  }
};

class Strip : public NormalizerStage {
 public:
  explicit Strip(const JsonField& field)
      : left_(field["strip_left"].boolean()), right_(field["strip_right"].boolean()) {}

  void apply(std::string& text, std::string&) const override {
    if (right_) {
      while (!text.empty()) {
        const size_t last = previous_boundary(text, text.size());
        if (!is_space(codepoint_at(text, last))) break;
        text.resize(last);
      }
    }
    size_t begin = 0;
    while (left_ && begin < text.size()) {
      size_t next = begin;
      if (!is_space(next_codepoint(text, next))) break;
      begin = next;
    }
    text.erase(0, begin);
  }

 private:
  bool left_, right_;
};

class Prepend : public NormalizerStage {
 public:
  explicit Prepend(std::string prefix) : prefix_(std::move(prefix)) {}

  void apply(std::string& text, std::string&) const override {
    if (!text.empty()) text.insert(0, prefix_);
  }

 private:
  std::string prefix_;
};

class Replace : public NormalizerStage {
 public:
  explicit Replace(const JsonField& field)
      : pattern_(read_pattern(field["pattern"])), content_(field["content"].text()) {}

  void apply(std::string& text, std::string& scratch) const override {
    if (text.empty()) return;
    std::vector<Stretch> stretches;
    pattern_->divide(text, stretches);
    if (stretches.size() == 1 && !stretches[0].match) return;
    scratch.clear();
    for (const Stretch& each : stretches) {
      if (each.match) {
        scratch += content_;
      } else {
        scratch.append(text, each.begin, each.end - each.begin);
      }
    }
    text.swap(scratch);
  }

 private:
  std::unique_ptr<Pattern> pattern_;
  std::string content_;
};

class ByteCharacters : public NormalizerStage {
 public:
  void apply(std::string& text, std::string& scratch) const override {
    scratch.clear();
    append_byte_characters(scratch, text);
    text.swap(scratch);
  }
};

std::unique_ptr<NormalizerStage> read_stage(const JsonField& field, const std::string& type) {
  if (type == "BertNormalizer") return std::make_unique<BertNormalizer>(field);
  if (type == "NFC") return std::make_unique<UnicodeNormalizer>(NormalForm::kNfc);
  if (type == "NFD") return std::make_unique<UnicodeNormalizer>(NormalForm::kNfd);
  if (type == "NFKC") return std::make_unique<UnicodeNormalizer>(NormalForm::kNfkc);
  if (type == "NFKD") return std::make_unique<UnicodeNormalizer>(NormalForm::kNfkd);
  if (type == "Lowercase") return std::make_unique<Lowercase>();
  if (type == "StripAccents") return std::make_unique<StripAccents>();
  if (type == "Strip") return std::make_unique<Strip>(field);
  if (type == "Prepend") return std::make_unique<Prepend>(field["prepend"].text());
  if (type == "Replace") return std::make_unique<Replace>(field);
  if (type == "ByteLevel") return std::make_unique<ByteCharacters>();
  throw field.error(
      "{} is not supported; BertNormalizer, NFC, NFD, NFKC, NFKD, Lowercase, StripAccents, Strip, Prepend, Replace, "
      "ByteLevel and Sequence are",
      quote(type));
}

}  // namespace

Normalizer::Normalizer(const std::optional<JsonField>& field) {
  if (field) read(*field);
}

void Normalizer::read(const JsonField& field) {
  const std::string type = field["type"].text();
  if (type != "Sequence") {
    stages_.push_back(read_stage(field, type));
    return;
  }
  const JsonField list = field["normalizers"];
  for (size_t i = 0; i < list.items(); ++i) read(list.item(i));
}

void Normalizer::apply(std::string& text, std::string& scratch) const {
  for (const auto& stage : stages_) stage->apply(text, scratch);
}

}  // namespace mora::tokenizer
