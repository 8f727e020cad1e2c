// Hash tables for the inner loops: open addressing with linear probing, one cache line a lookup.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

namespace mora::tokenizer {

__extension__ using Uint128 = unsigned __int128;

// Folds the 128-bit product of its arguments: both halves of the result depend on every bit.
inline uint64_t mix(uint64_t a, uint64_t b) {
  const auto product = static_cast<Uint128>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

inline uint64_t hash_bytes(std::string_view text) {
  constexpr uint64_t kA = 0x9E3779B97F4A7C15u, kB = 0xD6E8FEB86659FD93u;
  const auto load = [](const char* from, size_t bytes) {
    uint64_t word = 0;
    std::memcpy(&word, from, bytes);
    return word;
  };
  const char* data = text.data();
  size_t left = text.size();
  uint64_t hash = mix(left ^ kA, kB);
  for (; left >= 8; data += 8, left -= 8) hash = mix(hash ^ load(data, 8), kA);
  if (left >= 4) {  // two loads that overlap cover 4 to 7 bytes
    return mix(hash ^ (load(data, 4) | load(data + left - 4, 4) << 32), kB);
  }
  if (left > 0) {  // first, middle and last byte cover 1 to 3
    const auto byte = [&](size_t i) { return static_cast<uint64_t>(static_cast<uint8_t>(data[i])); };
    return mix(hash ^ (byte(0) | byte(left / 2) << 8 | byte(left - 1) << 16 | uint64_t{1} << 24), kB);
  }
  return hash;
}

// Two non-negative ids as one key.
inline uint64_t pair_key(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

// 64-bit keys, all but ~0, to small values. Grows at half load; nothing is ever erased.
template <class Value>
class FlatMap {
 public:
  explicit FlatMap(size_t expected = 0) { rehash(expected * 2); }

  const Value* find(uint64_t key) const {
    for (size_t i = slot(key);; i = (i + 1) & mask_) {
      if (slots_[i].key == key) return &slots_[i].value;
      if (slots_[i].key == kEmpty) return nullptr;
    }
  }

  bool contains(uint64_t key) const { return find(key) != nullptr; }

  // The value of `key`, made if there was none.
  Value& operator[](uint64_t key) {
    if (2 * (size_ + 1) > slots_.size()) rehash(2 * slots_.size());
    size_t i = slot(key);
    while (slots_[i].key != key && slots_[i].key != kEmpty) i = (i + 1) & mask_;
    if (slots_[i].key == kEmpty) {
      slots_[i].key = key;
      ++size_;
    }
    return slots_[i].value;
  }

  size_t size() const { return size_; }

 private:
  static constexpr uint64_t kEmpty = ~uint64_t{0};
  struct Slot {
    uint64_t key = kEmpty;
    Value value{};
  };

  size_t slot(uint64_t key) const { return mix(key, 0x9E3779B97F4A7C15u) & mask_; }

  void rehash(size_t at_least) {
    size_t capacity = 16;
    while (capacity < at_least) capacity *= 2;
    std::vector<Slot> old(capacity);
    old.swap(slots_);
    mask_ = capacity - 1;
    for (const Slot& entry : old) {
      if (entry.key == kEmpty) continue;
      size_t i = slot(entry.key);
      while (slots_[i].key != kEmpty) i = (i + 1) & mask_;
      slots_[i] = entry;
    }
  }

  std::vector<Slot> slots_;
  size_t mask_ = 0;
  size_t size_ = 0;
};

}  // namespace mora::tokenizer
