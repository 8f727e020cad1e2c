// The `added_tokens` of a tokenizer.json: tokens found in the text as they stand, before any model.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "loaders/tokenizer/json_field.h"
#include "loaders/tokenizer/normalizer.h"
#include "loaders/tokenizer/trie.h"

namespace mora::tokenizer {

struct AddedToken {
  std::string content;
  int32_t id = -1;
  bool single_word = false;  // no match inside a word
  bool lstrip = false;       // takes the white space before it along
  bool rstrip = false;       // and behind it
  bool normalized = false;   // is sought in normalised text, by its normalised content
  bool special = false;
};

std::vector<AddedToken> read_added_tokens(const JsonField& list);

// A stretch of text that is an added token, or (id −1) one between them.
struct AddedMatch {
  int32_t id = -1;
  size_t begin = 0, end = 0;
};

class AddedTokens {
 public:
  AddedTokens() = default;
  AddedTokens(std::vector<AddedToken> tokens, const Normalizer& normalizer);

  // Appends matches that cover `text`: the longest token that begins furthest left, then on behind it. Of the tokens
  // that are, or are not, sought in normalised text.
  void divide(std::string_view text, bool normalized, std::vector<AddedMatch>& out) const;
  bool empty(bool normalized) const { return tries_[normalized].empty(); }

  // What decoding writes for an added token: its content, normalised if it is sought so. "" for other ids.
  std::string_view decoded(int32_t id) const;
  bool is_special_text(std::string_view token) const { return special_texts_.contains(std::string(token)); }
  bool is_special(int32_t id) const;

 private:
  const AddedToken& token(int32_t id) const { return tokens_[places_.at(id)]; }

  std::vector<AddedToken> tokens_;
  std::vector<std::string> decoded_;            // by place in tokens_
  std::unordered_map<int32_t, size_t> places_;  // id → place in tokens_
  std::unordered_set<std::string> special_texts_;
  Trie tries_[2];  // [normalized]
};

}  // namespace mora::tokenizer
