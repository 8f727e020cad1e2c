// The longest of a set of strings that begins at a given place.
#pragma once

#include <bitset>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "loaders/tokenizer/flat_map.h"

namespace mora::tokenizer {

class Trie {
 public:
  struct Match {
    int32_t value = -1;  // −1: nothing matches
    size_t bytes = 0;
  };

  void add(std::string_view text, int32_t value);  // text is not empty, value ≥ 0; a second value replaces the first

  Match longest_prefix(std::string_view text) const {
    Match best;
    uint32_t node = 0;
    for (size_t i = 0; i < text.size(); ++i) {
      const uint32_t* child = children_.find(edge(node, text[i]));
      if (child == nullptr) break;
      node = *child;
      if (values_[node] >= 0) best = {values_[node], i + 1};
    }
    return best;
  }

  bool empty() const { return values_.size() == 1; }
  bool may_begin_with(char byte) const { return first_.test(static_cast<uint8_t>(byte)); }

 private:
  static uint64_t edge(uint32_t node, char byte) { return uint64_t{node} << 8 | static_cast<uint8_t>(byte); }

  FlatMap<uint32_t> children_;
  std::vector<int32_t> values_ = {-1};  // by node; the root is 0
  std::bitset<256> first_;
};

inline void Trie::add(std::string_view text, int32_t value) {
  first_.set(static_cast<uint8_t>(text[0]));
  uint32_t node = 0;
  for (const char byte : text) {
    uint32_t& child = children_[edge(node, byte)];
    if (child == 0) {
      child = static_cast<uint32_t>(values_.size());
      values_.push_back(-1);
    }
    node = child;
  }
  values_[node] = value;
}

}  // namespace mora::tokenizer
