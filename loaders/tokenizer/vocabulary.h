// Token ↔ id.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace mora::tokenizer {

// Tokens by id and ids by token. An id between 0 and size() may lack a token.
class Vocabulary {
 public:
  // Each id ≥ 0 and each token, which is not empty, is added at most once; ids are dense enough for an array.
  void add(std::string_view token, int32_t id);

  int32_t find(std::string_view token) const;  // its id, or −1

  std::string_view token(int32_t id) const {  // "" where there is none
    return has(id) ? view(static_cast<size_t>(id)) : std::string_view();
  }
  bool has(int32_t id) const {
    return id >= 0 && static_cast<size_t>(id) < spans_.size() && spans_[static_cast<size_t>(id)].bytes > 0;
  }
  int32_t size() const { return static_cast<int32_t>(spans_.size()); }  // one more than the largest id
  size_t tokens() const { return tokens_; }
  size_t longest() const { return longest_; }  // bytes of the longest token

 private:
  struct Span {
    size_t begin = 0;
    uint32_t bytes = 0;
  };
  struct Slot {
    uint32_t tag = 0;  // bits of the hash, so that most misses touch no text
    int32_t id = -1;
  };

  std::string_view view(size_t id) const { return {text_.data() + spans_[id].begin, spans_[id].bytes}; }
  void insert(int32_t id);

  std::vector<char> text_;   // all tokens, end to end
  std::vector<Span> spans_;  // by id
  std::vector<Slot> slots_;  // by hash, linear probing
  size_t tokens_ = 0;
  size_t longest_ = 0;
};

}  // namespace mora::tokenizer
