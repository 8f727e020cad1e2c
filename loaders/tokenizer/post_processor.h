// The `post_processor` of a tokenizer.json: what goes before, between and behind the ids of one or two texts.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "loaders/tokenizer/json_field.h"

namespace mora::tokenizer {

class PostProcessor {
 public:
  struct Part {
    int text = -1;             // 0: the ids of the first text, 1: of the second; −1: `ids`
    std::vector<int32_t> ids;  // special tokens
    int32_t type_id = 0;
  };

  PostProcessor();  // the texts as they are
  // TemplateProcessing, BertProcessing, RobertaProcessing, ByteLevel (which moves offsets alone) and a Sequence with
  // one of the first three at most; IoError for any other, and for an id that `is_token` does not know.
  PostProcessor(const std::optional<JsonField>& field, const std::function<bool(int32_t)>& is_token);

  const std::vector<Part>& single() const { return single_; }
  const std::vector<Part>& pair() const { return pair_; }

 private:
  void read(const JsonField& field);

  std::vector<Part> single_, pair_;
  bool has_template_ = false;
};

}  // namespace mora::tokenizer
