// The `decoder` of a tokenizer.json: the texts of tokens → text.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "loaders/tokenizer/json_field.h"

namespace mora::tokenizer {

class DecoderStage {
 public:
  virtual ~DecoderStage() = default;

  // Rewrites the texts of the tokens, of which there may be none.
  virtual void apply(std::vector<std::string>& tokens) const = 0;
};

class Decoder {
 public:
  Decoder() = default;  // tokens with spaces between
  // WordPiece, ByteLevel, ByteFallback, Fuse, Strip, Replace, Metaspace, BPEDecoder and sequences of them; IoError for
  // any other.
  explicit Decoder(const std::optional<JsonField>& field);

  std::string decode(std::vector<std::string> tokens) const;
  bool reads_byte_tokens() const { return reads_byte_tokens_; }  // <0x0A> and the like

 private:
  void read(const JsonField& field);

  std::vector<std::unique_ptr<DecoderStage>> stages_;
  bool joins_with_spaces_ = true;
  bool reads_byte_tokens_ = false;
};

// The byte of a token "<0x0A>", if it is one.
std::optional<char> byte_of_token(std::string_view token);

}  // namespace mora::tokenizer
