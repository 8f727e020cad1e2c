#include "loaders/tokenizer/word_cache.h"

#include <algorithm>

#include "loaders/tokenizer/flat_map.h"

namespace mora::tokenizer {

std::optional<std::span<const int32_t>> WordCache::find(std::string_view word) const {
  if (slots_.empty() || word.size() > kLongestWord) return std::nullopt;
  const uint64_t hash = hash_bytes(word);
  const size_t mask = slots_.size() - 1;
  for (size_t i = hash & mask; slots_[i].bytes != 0; i = (i + 1) & mask) {
    const Slot& slot = slots_[i];
    if (slot.tag != static_cast<uint32_t>(hash >> 32)) continue;
    if (std::string_view(text_.data() + slot.text, slot.bytes) == word) {
      return std::span<const int32_t>(ids_.data() + slot.ids, slot.count);
    }
  }
  return std::nullopt;
}

void WordCache::insert(std::string_view word, std::span<const int32_t> ids) {
  if (word.empty() || word.size() > kLongestWord) return;
  if (2 * (words_ + 1) > slots_.size() || text_.size() > kMaxTextBytes) grow();
  const uint64_t hash = hash_bytes(word);
  const size_t mask = slots_.size() - 1;
  size_t i = hash & mask;
  while (slots_[i].bytes != 0) i = (i + 1) & mask;
  slots_[i] = {static_cast<uint32_t>(hash >> 32), static_cast<uint32_t>(text_.size()),
               static_cast<uint32_t>(ids_.size()), static_cast<uint16_t>(word.size()),
               static_cast<uint16_t>(ids.size())};
  text_.insert(text_.end(), word.begin(), word.end());
  ids_.insert(ids_.end(), ids.begin(), ids.end());
  ++words_;
}

void WordCache::grow() {
  if (words_ >= kMaxWords || text_.size() > kMaxTextBytes) {
    std::fill(slots_.begin(), slots_.end(), Slot());
    text_.clear();
    ids_.clear();
    words_ = 0;
    return;
  }
  std::vector<Slot> old(std::max<size_t>(256, 2 * slots_.size()));
  old.swap(slots_);
  const size_t mask = slots_.size() - 1;
  for (const Slot& slot : old) {
    if (slot.bytes == 0) continue;
    size_t i = hash_bytes({text_.data() + slot.text, slot.bytes}) & mask;
    while (slots_[i].bytes != 0) i = (i + 1) & mask;
    slots_[i] = slot;
  }
}

}  // namespace mora::tokenizer
