// Words already tokenized. Text repeats its words, so most of them are met again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace mora::tokenizer {

// A map from words to the ids they become, of bounded size: when it is full it is emptied and fills again. Owned by one
// thread at a time.
class WordCache {
 public:
  static constexpr size_t kLongestWord = 128;  // bytes; longer words repeat too rarely

  std::optional<std::span<const int32_t>> find(std::string_view word) const;

  void insert(std::string_view word, std::span<const int32_t> ids);  // a word that find does not find

 private:
  static constexpr size_t kMaxWords = size_t{1} << 16;
  static constexpr size_t kMaxTextBytes = size_t{2} << 20;
  struct Slot {
    uint32_t tag = 0;
    uint32_t text = 0;   // where the word begins in text_
    uint32_t ids = 0;    // where its ids begin in ids_
    uint16_t bytes = 0;  // 0: the slot is free
    uint16_t count = 0;  // of ids
  };

  void grow();

  std::vector<Slot> slots_;
  std::vector<char> text_;
  std::vector<int32_t> ids_;
  size_t words_ = 0;
};

}  // namespace mora::tokenizer
