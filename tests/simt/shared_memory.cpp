#include "simt/shared_memory.h"

#include <fmt/format.h>

namespace mora::simt::emulator {

void SharedMemory::begin(int threads, int dynamic_bytes) {
  if (dynamic_bytes < 0 || dynamic_bytes > capacity)
    throw KernelError("a launch with " + std::to_string(dynamic_bytes) + " bytes of dynamic shared memory");
  std::memset(bytes_, 0xFF, size_t(dynamic_bytes));
  warp_time_.assign(size_t(threads / warp_size), 0);
  static_offsets_.clear();
  dynamic_ = dynamic_bytes;
  used_ = (dynamic_bytes + 15) / 16 * 16;  // static arrays lie behind the dynamic ones
  began_ = ++block_time_;
}

std::string SharedMemory::place_static(const void* key, int bytes, void** result) {
  const auto [at, is_new] = static_offsets_.try_emplace(key, used_);
  if (is_new) {
    used_ += (bytes + 15) / 16 * 16;
    if (used_ > capacity || used_ - dynamic_ > static_capacity + 15)
      return "static shared memory grows to " + std::to_string(used_ - dynamic_) + " bytes";
    std::memset(bytes_ + at->second, 0xFF, size_t(bytes));
  }
  *result = bytes_ + at->second;
  return "";
}

std::string SharedMemory::place_dynamic(int offset, int bytes, void** result) {
  if (offset < 0 || bytes < 0 || offset + bytes > dynamic_)
    return "bytes " + std::to_string(offset) + " to " + std::to_string(offset + bytes) + " of " +
           std::to_string(dynamic_) + " of dynamic shared memory";
  *result = bytes_ + offset;
  return "";
}

// What `before` did is over for `thread` now.
bool SharedMemory::ordered(const Touch& before, int thread) const {
  if (before.thread < 0 || before.thread == thread || before.block_time < block_time_) return true;
  const auto warp = size_t(thread / warp_size);
  return size_t(before.thread / warp_size) == warp && before.warp_time < warp_time_[warp];
}

// Whether no thread of this block touched it.
bool SharedMemory::is_of_before(const Byte& byte) const {
  return std::max({byte.writer.block_time, byte.reader.block_time, byte.other_reader.block_time}) < began_;
}

void SharedMemory::touch_word(Word& word, size_t at, size_t count, const Touch& now, Access access,
                              std::string& error) const {
  if (count == word_bytes && !word.is_whole &&
      std::ranges::all_of(word.bytes, [this](const Byte& byte) { return is_of_before(byte); })) {
    word.bytes[0] = {};
    word.is_whole = true;
  }
  if (count == word_bytes && word.is_whole) return touch_byte(word.bytes[0], now, access, error);
  if (word.is_whole) std::ranges::fill(word.bytes, Byte(word.bytes[0]));
  word.is_whole = false;
  for (size_t i = at; i < at + count && error.empty(); ++i) touch_byte(word.bytes[i], now, access, error);
}

void SharedMemory::touch_byte(Byte& byte, const Touch& now, Access access, std::string& error) const {
  const auto fail = [&](const char* what, const Touch& other) {
    error = fmt::format("shared memory: {} thread {} with no barrier in between", what, other.thread);
  };
  const bool both_atomic = byte.writer.atomic && now.atomic;
  if (access == Access::read && byte.writer.block_time < began_) {
    error = "shared memory is read that no thread wrote";
  } else if (!both_atomic && !ordered(byte.writer, now.thread)) {
    fail(access == Access::read ? "reads what was written by" : "writes what was written by", byte.writer);
  } else if (access == Access::read) {
    if (byte.reader.thread != now.thread) byte.other_reader = byte.reader;
    byte.reader = now;
  } else {
    for (const Touch& reader : {byte.reader, byte.other_reader})
      if (!ordered(reader, now.thread)) return fail("writes what was read by", reader);
    byte.writer = now;
  }
}

}  // namespace mora::simt::emulator
