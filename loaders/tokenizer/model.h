// The `model` of a tokenizer.json: a piece of text → ids.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "loaders/tokenizer/json_field.h"
#include "loaders/tokenizer/vocabulary.h"
#include "loaders/tokenizer/word_cache.h"

namespace mora::tokenizer {

// The buffers of one call of encode, kept for the next.
struct ModelWorkspace {
  struct Symbol {
    int32_t id = -1;
    uint32_t begin = 0;     // in the piece
    int32_t previous = -1;  // the symbol before that has not been merged away
    int32_t next = -1;
    uint32_t rank = 0;  // of the merge with the next symbol
  };

  WordCache cache;
  std::vector<Symbol> symbols;
  std::vector<Symbol> stretch;
  std::vector<uint64_t> queue;
  std::string text;
};

class Model {
 public:
  virtual ~Model() = default;

  // Appends the ids of `piece`, which is not empty. Safe to call from threads that have a workspace each.
  virtual void tokenize(std::string_view piece, ModelWorkspace& workspace, std::vector<int32_t>& ids) const = 0;
};

// `field` is the "model". The vocabulary has been read and checked and outlives the model. `reads_bytes`: pieces are
// bytes where the vocabulary has characters of the byte alphabet. Each throws IoError.
std::unique_ptr<Model> read_bpe(const JsonField& field, const Vocabulary& vocabulary, bool reads_bytes);
std::unique_ptr<Model> read_word_piece(const JsonField& field, const Vocabulary& vocabulary);
std::unique_ptr<Model> read_word_level(const JsonField& field, const Vocabulary& vocabulary);

// Whether read_bpe may be told to read bytes: no option of the model looks at the characters.
bool bpe_can_read_bytes(const JsonField& field);

}  // namespace mora::tokenizer
