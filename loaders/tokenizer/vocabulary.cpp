#include "loaders/tokenizer/vocabulary.h"

#include <algorithm>

#include "loaders/tokenizer/flat_map.h"

namespace mora::tokenizer {

void Vocabulary::add(std::string_view token, int32_t id) {
  if (static_cast<size_t>(id) >= spans_.size()) spans_.resize(static_cast<size_t>(id) + 1);
  spans_[static_cast<size_t>(id)] = {text_.size(), static_cast<uint32_t>(token.size())};
  text_.insert(text_.end(), token.begin(), token.end());
  longest_ = std::max(longest_, token.size());
  ++tokens_;
  if (2 * tokens_ <= slots_.size()) return insert(id);
  slots_.assign(std::max<size_t>(16, 2 * slots_.size()), {});
  for (int32_t each = 0; each < size(); ++each) {
    if (has(each)) insert(each);
  }
}

void Vocabulary::insert(int32_t id) {
  const uint64_t hash = hash_bytes(view(static_cast<size_t>(id)));
  size_t i = hash & (slots_.size() - 1);
  while (slots_[i].id >= 0) i = (i + 1) & (slots_.size() - 1);
  slots_[i] = {static_cast<uint32_t>(hash >> 32), id};
}

int32_t Vocabulary::find(std::string_view token) const {
  if (token.empty() || token.size() > longest_) return -1;
  const uint64_t hash = hash_bytes(token);
  for (size_t i = hash & (slots_.size() - 1); slots_[i].id >= 0; i = (i + 1) & (slots_.size() - 1)) {
    if (slots_[i].tag == static_cast<uint32_t>(hash >> 32) && view(static_cast<size_t>(slots_[i].id)) == token) {
      return slots_[i].id;
    }
  }
  return -1;
}

}  // namespace mora::tokenizer
