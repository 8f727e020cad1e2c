#include "engine/allocator.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <mutex>
#include <new>
#include <vector>

namespace mora {
namespace {

// Size classes: eight to a doubling, so that rounding wastes at most 12.5 %. Class 0 holds 64 bytes.
constexpr size_t alignment = 64;
constexpr int classes = 8 * 42;
constexpr size_t keep_at_least = size_t{32} << 20;

int class_of(size_t bytes) {
  const size_t units = std::max<size_t>(1, (bytes + alignment - 1) / alignment);
  if (units <= 8) return int(units) - 1;
  const int doubling = std::bit_width(units - 1) - 4;  // units in (8·2^doubling, 16·2^doubling]
  const size_t step = (units - 1) >> doubling;         // 8…15
  return 8 * (doubling + 1) + int(step - 8);
}

size_t bytes_of(int c) {
  if (c < 8) return size_t(c + 1) * alignment;
  const int doubling = c / 8 - 1;
  return (size_t(c % 8 + 9) << doubling) * alignment;
}

class CachingAllocator {
 public:
  void* allocate(size_t bytes) {
    const int c = class_of(bytes);
    if (c >= classes) throw std::bad_alloc();
    const size_t size = bytes_of(c);
    std::lock_guard lock(mutex_);
    void* pointer = nullptr;
    if (!free_[c].empty()) {
      pointer = free_[c].back();
      free_[c].pop_back();
      stats_.cached_bytes -= int64_t(size);
    } else {
      make_room(size);
      pointer = std::aligned_alloc(alignment, size);
      if (!pointer) {
        release_down_to(0);
        pointer = std::aligned_alloc(alignment, size);
      }
      if (!pointer) throw std::bad_alloc();
    }
    stats_.live_bytes += int64_t(size);
    stats_.live_blocks += 1;
    stats_.peak_bytes = std::max(stats_.peak_bytes, stats_.live_bytes);
    return pointer;
  }

  void deallocate(void* pointer, size_t bytes) noexcept {
    const int c = class_of(bytes);
    std::lock_guard lock(mutex_);
    stats_.live_bytes -= int64_t(bytes_of(c));
    stats_.live_blocks -= 1;
    if (free_[c].size() == free_[c].capacity()) {
      try {
        free_[c].reserve(std::max<size_t>(16, 2 * free_[c].size()));
      } catch (const std::bad_alloc&) {
        std::free(pointer);
        return;
      }
    }
    free_[c].push_back(pointer);
    stats_.cached_bytes += int64_t(bytes_of(c));
  }

  MemoryStats stats() {
    std::lock_guard lock(mutex_);
    return stats_;
  }
  void reset_peak() {
    std::lock_guard lock(mutex_);
    stats_.peak_bytes = stats_.live_bytes;
  }
  void release() {
    std::lock_guard lock(mutex_);
    release_down_to(0);
  }

 private:
  // Batches of varying length ask for ever new sizes. What is cached may not push live + cached beyond an eighth over
  // the peak of live bytes: the process then stays near what its busiest moment needs.
  void make_room(size_t size) {
    const auto needed = size_t(stats_.live_bytes) + size;
    const size_t limit = std::max(needed, size_t(stats_.peak_bytes)) * 9 / 8 + keep_at_least;
    const size_t allowed = limit > needed ? limit - needed : 0;
    if (size_t(stats_.cached_bytes) > allowed) release_down_to(allowed);
  }

  void release_down_to(size_t allowed) {  // the largest first
    for (int c = classes - 1; c >= 0 && size_t(stats_.cached_bytes) > allowed; --c) {
      while (!free_[c].empty() && size_t(stats_.cached_bytes) > allowed) {
        std::free(free_[c].back());
        free_[c].pop_back();
        stats_.cached_bytes -= int64_t(bytes_of(c));
      }
    }
  }

  std::mutex mutex_;
  MemoryStats stats_;
  std::vector<void*> free_[classes];
};

CachingAllocator& allocator() {
  static auto* instance = new CachingAllocator;  // outlives every static tensor
  return *instance;
}

}  // namespace

void* allocate(size_t bytes) { return allocator().allocate(bytes); }
void deallocate(void* pointer, size_t bytes) noexcept { allocator().deallocate(pointer, bytes); }
MemoryStats memory_stats() { return allocator().stats(); }
void reset_peak_memory() { allocator().reset_peak(); }
void release_cached_memory() { allocator().release(); }

}  // namespace mora
