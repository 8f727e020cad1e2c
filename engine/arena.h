// Where large blocks come from: a stretch of reserved addresses, cut where a block fits best and joined again when it
// is freed. Batches of ever new lengths then reuse the same pages, where lists by size class would keep some of each
// size.
#pragma once

#include <cstddef>
#include <vector>

namespace mora {

// Not thread-safe. Pages cost nothing until they are touched, and stay with the process then until release().
class Arena {
 public:
  // Reserves `bytes`, or half of that, or a quarter …, as the system allows; nothing if it allows none.
  explicit Arena(size_t bytes);
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // What a block of `bytes` takes.
  static size_t rounded(size_t bytes);
  // 64-byte aligned; null where nothing is large enough. Throws std::bad_alloc where it cannot keep account of it.
  void* allocate(size_t bytes);
  void deallocate(void* block, size_t bytes) noexcept;
  bool contains(const void* block) const;

  // Bytes that are free now and lie below the end of the highest block there was since release().
  size_t idle_bytes() const { return high_water_ - live_; }
  // Gives the pages of what is free back to the system.
  void release();

 private:
  struct Range {
    size_t begin, end;
    size_t size() const { return end - begin; }
  };

  std::byte* base_ = nullptr;
  size_t size_ = 0;
  size_t live_ = 0;    // bytes of
  size_t blocks_ = 0;  // so many blocks
  size_t high_water_ = 0;
  std::vector<Range> free_;  // by address; no two touch
};

}  // namespace mora
