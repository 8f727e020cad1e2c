#include "loaders/tokenizer/decoder.h"

#include <cctype>
#include <string_view>

#include "loaders/quote.h"
#include "loaders/tokenizer/byte_alphabet.h"
#include "loaders/tokenizer/codepoint.h"
#include "loaders/tokenizer/pattern.h"
#include "loaders/utf8.h"

namespace mora::tokenizer {
namespace {

constexpr std::string_view kReplacement = "\uFFFD";

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  if (from.empty() || text.find(from) == text.npos) return;
  std::string out;
  size_t rest = 0;
  for (size_t at = text.find(from); at != text.npos; at = text.find(from, rest)) {
    out.append(text, rest, at - rest).append(to);
    rest = at + from.size();
  }
  text = out.append(text, rest);
}

// Words joined with spaces, their continuations without; then the reference's tidying of English punctuation.
class WordPieceDecoder : public DecoderStage {
 public:
  explicit WordPieceDecoder(const JsonField& field)
      : prefix_(field.text_or("prefix", "##")), cleanup_(field.boolean_or("cleanup", true)) {}

  void apply(std::vector<std::string>& tokens) const override {
    for (size_t i = 0; i < tokens.size(); ++i) {
      std::string& token = tokens[i];
      if (i > 0 && token.starts_with(prefix_)) {
        token.erase(0, prefix_.size());
      } else if (i > 0) {
        token.insert(0, 1, ' ');
      }
      if (cleanup_) tidy(token);
    }
  }

 private:
  static void tidy(std::string& token) {
    static constexpr std::pair<std::string_view, std::string_view> kRules[] = {
        {" .", "."},   {" ?", "?"},           {" !", "!"},   {" ,", ","},     {" ' ", "'"},   {" n't", "n't"},
        {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
    for (const auto& [from, to] : kRules) replace_all(token, from, to);
  }

  std::string prefix_;
  bool cleanup_;
};

class ByteLevelDecoder : public DecoderStage {
 public:
  void apply(std::vector<std::string>& tokens) const override {
    std::string bytes;
    for (const std::string& token : tokens) {
      const auto decoded = bytes_of_characters(token);
      bytes += decoded ? *decoded : token;  // an added token may have any characters
    }
    tokens = {replace_invalid_utf8(bytes)};
  }
};

// Runs of byte tokens become the text they spell, or, if that is not UTF-8, U+FFFD each.
class ByteFallbackDecoder : public DecoderStage {
 public:
  void apply(std::vector<std::string>& tokens) const override {
    std::vector<std::string> out;
    std::string bytes;
    const auto flush = [&] {
      if (valid_utf8_prefix(bytes) == bytes.size()) {
        if (!bytes.empty()) out.push_back(bytes);
      } else {
        out.insert(out.end(), bytes.size(), std::string(kReplacement));
      }
      bytes.clear();
    };
    for (std::string& token : tokens) {
      if (const auto byte = byte_of_token(token)) {
        bytes += *byte;
        continue;
      }
      flush();
      out.push_back(std::move(token));
    }
    flush();
    tokens = std::move(out);
  }
};

class Fuse : public DecoderStage {
 public:
  void apply(std::vector<std::string>& tokens) const override {
    std::string all;
    for (const std::string& token : tokens) all += token;
    tokens = {std::move(all)};
  }
};

// Takes up to `start` of a character from the begin of each token, and up to `stop` from its end.
class StripDecoder : public DecoderStage {
 public:
  explicit StripDecoder(const JsonField& field) : start_(field["start"].count()), stop_(field["stop"].count()) {
    append_utf8(content_, field["content"].character());
  }

  void apply(std::vector<std::string>& tokens) const override {
    for (std::string& token : tokens) {
      std::string_view left = token;
      for (size_t i = 0; i < start_ && left.starts_with(content_); ++i) left.remove_prefix(content_.size());
      for (size_t i = 0; i < stop_ && left.ends_with(content_); ++i) left.remove_suffix(content_.size());
      token = std::string(left);
    }
  }

 private:
  std::string content_;
  size_t start_, stop_;
};

class ReplaceDecoder : public DecoderStage {
 public:
  explicit ReplaceDecoder(const JsonField& field)
      : pattern_(read_pattern(field["pattern"])), content_(field["content"].text()) {}

  void apply(std::vector<std::string>& tokens) const override {
    std::vector<Stretch> stretches;
    for (std::string& token : tokens) {
      if (token.empty()) continue;
      stretches.clear();
      pattern_->divide(token, stretches);
      std::string out;
      for (const Stretch& each : stretches) {
        out +=
            each.match ? std::string_view(content_) : std::string_view(token).substr(each.begin, each.end - each.begin);
      }
      token = std::move(out);
    }
  }

 private:
  std::unique_ptr<Pattern> pattern_;
  std::string content_;
};

class MetaspaceDecoder : public DecoderStage {
 public:
  explicit MetaspaceDecoder(const JsonField& field) {
    append_utf8(replacement_, field["replacement"].character());
    const auto old = field.find("add_prefix_space");
    drops_first_ = field.text_or("prepend_scheme", old && !old->boolean() ? "never" : "always") != "never";
  }

  void apply(std::vector<std::string>& tokens) const override {
    for (size_t i = 0; i < tokens.size(); ++i) replace_all(tokens[i], replacement_, i == 0 && drops_first_ ? "" : " ");
  }

 private:
  std::string replacement_;
  bool drops_first_;
};

class BpeDecoder : public DecoderStage {
 public:
  explicit BpeDecoder(const JsonField& field) : suffix_(field.text_or("suffix", "</w>")) {}

  void apply(std::vector<std::string>& tokens) const override {
    for (size_t i = 0; i < tokens.size(); ++i) replace_all(tokens[i], suffix_, i + 1 == tokens.size() ? "" : " ");
  }

 private:
  std::string suffix_;
};

std::unique_ptr<DecoderStage> read_stage(const JsonField& field, const std::string& type) {
  if (type == "WordPiece") return std::make_unique<WordPieceDecoder>(field);
  if (type == "ByteLevel") return std::make_unique<ByteLevelDecoder>();
  if (type == "ByteFallback") return std::make_unique<ByteFallbackDecoder>();
  if (type == "Fuse") return std::make_unique<Fuse>();
  if (type == "Strip") return std::make_unique<StripDecoder>(field);
  if (type == "Replace") return std::make_unique<ReplaceDecoder>(field);
  if (type == "Metaspace") return std::make_unique<MetaspaceDecoder>(field);
  if (type == "BPEDecoder") return std::make_unique<BpeDecoder>(field);
  throw field.error(
      "{} is not supported; WordPiece, ByteLevel, ByteFallback, Fuse, Strip, Replace, Metaspace, BPEDecoder and "
      "Sequence are",
      quote(type));
}

}  // namespace

std::optional<char> byte_of_token(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return std::nullopt;
  int value = 0;
  for (const char digit : token.substr(3, 2)) {
    if (!std::isxdigit(static_cast<unsigned char>(digit))) return std::nullopt;
    value = value * 16 + (digit <= '9' ? digit - '0' : (digit | 0x20) - 'a' + 10);
  }
  return static_cast<char>(value);
}

Decoder::Decoder(const std::optional<JsonField>& field) : joins_with_spaces_(!field) {
  if (field) read(*field);
}

void Decoder::read(const JsonField& field) {
  const std::string type = field["type"].text();
  if (type == "Sequence") {
    const JsonField list = field["decoders"];
    for (size_t i = 0; i < list.items(); ++i) read(list.item(i));
    return;
  }
  reads_byte_tokens_ = reads_byte_tokens_ || type == "ByteFallback";
  stages_.push_back(read_stage(field, type));
}

std::string Decoder::decode(std::vector<std::string> tokens) const {
  for (const auto& stage : stages_) stage->apply(tokens);
  std::string text;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (i > 0 && joins_with_spaces_) text += ' ';
    text += tokens[i];
  }
  return text;
}

}  // namespace mora::tokenizer
