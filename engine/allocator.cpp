#include "engine/allocator.h"

#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <mutex>
#include <new>
#include <vector>

#include "engine/arena.h"
#include "engine/spin.h"

namespace mora {
namespace {

// Small blocks come in size classes, eight to a doubling, so that rounding wastes at most 12.5 %; class 0 holds 64
// bytes.
constexpr size_t alignment = 64;
constexpr int classes = 64;
constexpr size_t largest_small = size_t{64} << 10;

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

// Twice the machine's memory: room enough for every address a block may need.
size_t reservation() {
#ifdef MORA_SANITIZED
  return 0;  // the sanitizer watches the system's blocks
#else
  return 2 * size_t(::sysconf(_SC_PHYS_PAGES)) * size_t(::sysconf(_SC_PAGESIZE));
#endif
}

class CachingAllocator {
 public:
  void* allocate(size_t bytes) {
    const std::lock_guard lock(lock_);
    void* pointer = bytes <= largest_small ? allocate_small(class_of(bytes)) : allocate_large(bytes);
    count(taken(bytes), 1);
    return pointer;
  }

  void deallocate(void* pointer, size_t bytes) noexcept {
    const std::lock_guard lock(lock_);
    count(-taken(bytes), -1);
    if (bytes <= largest_small)
      deallocate_small(pointer, class_of(bytes));
    else if (arena_.contains(pointer))
      arena_.deallocate(pointer, bytes);
    else
      to_system(pointer);
  }

  MemoryStats stats() {
    const std::lock_guard lock(lock_);
    MemoryStats result = stats_;
    result.cached_bytes += int64_t(arena_.idle_bytes());
    return result;
  }
  void reset_peak() {
    const std::lock_guard lock(lock_);
    stats_.peak_bytes = stats_.live_bytes;
  }
  void release() {
    const std::lock_guard lock(lock_);
    for (auto& list : free_) {
      for (void* pointer : list) to_system(pointer);
      list.clear();
    }
    stats_.cached_bytes = 0;
    arena_.release();
  }

 private:
  static int64_t taken(size_t bytes) {
    return int64_t(bytes <= largest_small ? bytes_of(class_of(bytes)) : Arena::rounded(bytes));
  }

  void count(int64_t bytes, int64_t blocks) {
    stats_.live_bytes += bytes;
    stats_.live_blocks += blocks;
    stats_.peak_bytes = std::max(stats_.peak_bytes, stats_.live_bytes);
  }

  void* allocate_small(int c) {
    if (free_[c].empty()) return from_system(bytes_of(c));
    void* pointer = free_[c].back();
    free_[c].pop_back();
    stats_.cached_bytes -= int64_t(bytes_of(c));
    return pointer;
  }

  void deallocate_small(void* pointer, int c) noexcept {
    if (free_[c].size() == free_[c].capacity()) {
      try {
        free_[c].reserve(std::max<size_t>(16, 2 * free_[c].size()));
      } catch (const std::bad_alloc&) {
        to_system(pointer);
        return;
      }
    }
    free_[c].push_back(pointer);
    stats_.cached_bytes += int64_t(bytes_of(c));
  }

  void* allocate_large(size_t bytes) {
    void* pointer = arena_.allocate(bytes);
    return pointer ? pointer : from_system(bytes);
  }

  static void* from_system(size_t bytes) {
    if (bytes > SIZE_MAX / 2 - alignment) throw std::bad_alloc();  // the library would round it up to 0
    return ::operator new(bytes, std::align_val_t(alignment));
  }
  static void to_system(void* pointer) noexcept { ::operator delete(pointer, std::align_val_t(alignment)); }

  SpinLock lock_;  // threads that begin a parallel region allocate together
  MemoryStats stats_;
  std::vector<void*> free_[classes];
  Arena arena_{reservation()};
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
