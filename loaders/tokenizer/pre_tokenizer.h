// The `pre_tokenizer` of a tokenizer.json: text → pieces, none of which a token spans.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "loaders/tokenizer/json_field.h"
#include "loaders/tokenizer/pattern.h"

namespace mora::tokenizer {

// A text and its pieces, in order, none of them empty.
struct Pieces {
  std::string text;
  std::vector<Span> spans;
  bool at_start = false;  // whether byte 0 of the text is where the user's text begins

  std::string_view piece(const Span& span) const {
    return std::string_view(text).substr(span.begin, span.end - span.begin);
  }
};

class PreTokenizerStage {
 public:
  virtual ~PreTokenizerStage() = default;

  // Splits or rewrites each piece; `scratch` is a buffer of no meaning.
  virtual void apply(Pieces& pieces, Pieces& scratch) const = 0;
};

class PreTokenizer {
 public:
  PreTokenizer() = default;  // the identity
  // BertPreTokenizer, Whitespace, WhitespaceSplit, ByteLevel, Split, Digits, Punctuation, Metaspace and sequences of
  // them; IoError for any other.
  explicit PreTokenizer(const std::optional<JsonField>& field);

  // ByteLevel ends by writing each byte as a character (byte_alphabet.h). A model that can read bytes takes that
  // step away: false if it is not the last one.
  bool drop_byte_characters();

  void apply(Pieces& pieces, Pieces& scratch) const;

 private:
  void read(const JsonField& field);

  std::vector<std::unique_ptr<PreTokenizerStage>> stages_;
  bool ends_in_byte_characters_ = false;
};

}  // namespace mora::tokenizer
