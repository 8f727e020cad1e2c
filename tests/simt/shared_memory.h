// A block's shared memory on the emulator, with who touched each byte last: what nobody wrote is not to be read, and
// two threads meet at a byte, one of them writing, only with a barrier in between.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "kernels/cuda/simt.h"

namespace mora::simt::emulator {

class SharedMemory {
 public:
  // A block of `threads` begins: everything is poison again.
  void begin(int threads, int dynamic_bytes);
  void passed_barrier() { ++block_time_; }
  void passed_warp_barrier(int warp) { ++warp_time_[size_t(warp)]; }

  // Each gives an error, or "".
  std::string place_static(const void* key, int bytes, void** result);
  std::string place_dynamic(int offset, int bytes, void** result);
  std::string touch(const void* pointer, int bytes, Access access, int thread) {
    std::string error;
    const auto first = size_t(static_cast<const std::byte*>(pointer) - bytes_), end = first + size_t(bytes);
    const Touch now{thread, block_time_, warp_time_[size_t(thread / warp_size)], access == Access::atomic};
    for (size_t i = first; i < end && error.empty();) {
      Word& word = words_[i / word_bytes];
      const size_t at = i % word_bytes, count = std::min(end - i, word_bytes - at);
      touch_word(word, at, count, now, access, error);
      i += count;
    }
    return error;
  }

 private:
  static constexpr int capacity = 227 << 10;        // of a block on compute capability 9.0
  static constexpr int static_capacity = 48 << 10;  // of static arrays

  struct Touch {
    int thread = -1;
    uint32_t block_time = 0, warp_time = 0;
    bool atomic = false;
  };
  struct Byte {
    Touch writer, reader, other_reader;
  };
  static constexpr size_t word_bytes = 4;
  // Most bytes are touched four at a time; while all four always were, the first stands for them.
  struct Word {
    Byte bytes[word_bytes];
    bool is_whole = true;
  };
  bool ordered(const Touch& before, int thread) const;
  bool is_of_before(const Byte& byte) const;
  void touch_word(Word& word, size_t at, size_t count, const Touch& now, Access access, std::string& error) const;
  void touch_byte(Byte& byte, const Touch& now, Access access, std::string& error) const;

  alignas(128) std::byte bytes_[capacity];
  std::vector<Word> words_ = std::vector<Word>(capacity / word_bytes);
  std::vector<uint32_t> warp_time_;
  std::unordered_map<const void*, int> static_offsets_;
  uint32_t block_time_ = 1, began_ = 1;
  int dynamic_ = 0, used_ = 0;
};

}  // namespace mora::simt::emulator
