// The `normalizer` of a tokenizer.json: text → text, before it is split.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "loaders/tokenizer/json_field.h"

namespace mora::tokenizer {

class NormalizerStage {
 public:
  virtual ~NormalizerStage() = default;

  // Rewrites `text`, which is valid UTF-8; `scratch` is a buffer of no meaning.
  virtual void apply(std::string& text, std::string& scratch) const = 0;
};

class Normalizer {
 public:
  Normalizer() = default;  // the identity
  // BertNormalizer, NFC, NFD, NFKC, NFKD, Lowercase, StripAccents, Strip, Replace, Prepend, ByteLevel and sequences of
  // them; IoError for any other.
  explicit Normalizer(const std::optional<JsonField>& field);

  bool empty() const { return stages_.empty(); }
  void apply(std::string& text, std::string& scratch) const;

 private:
  void read(const JsonField& field);

  std::vector<std::unique_ptr<NormalizerStage>> stages_;
};

}  // namespace mora::tokenizer
