#include "engine/pool.h"

#include <cstdint>
#include <new>
#include <utility>

namespace mora {
namespace {

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MORA_HEAP_ONLY
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define MORA_HEAP_ONLY
#endif
#ifdef MORA_HEAP_ONLY
constexpr size_t largest = 0;  // each object to the heap, where its misuse is seen
#else
constexpr size_t largest = 1024;
#endif
constexpr size_t step = 64;
constexpr uint32_t most_kept = 4096;  // of a size

struct Free {
  Free* next;
};
struct Lists {
  Free* first[largest / step + 1];
  uint32_t count[largest / step + 1];
  bool closed;
};
thread_local constinit Lists lists{};

// At the end of the thread its lists go; objects that outlive it go to the heap.
void close_with_thread() {
  struct Closer {
    ~Closer() {
      lists.closed = true;
      for (Free* list : lists.first) {
        while (list) ::operator delete(std::exchange(list, list->next));
      }
    }
  };
  static thread_local Closer closer;
}

size_t size_class(size_t bytes) { return (bytes + step - 1) / step; }

}  // namespace

void* pool_allocate(size_t bytes) {
  const size_t c = size_class(bytes);
  if (bytes <= largest && lists.first[c]) {
    --lists.count[c];
    return std::exchange(lists.first[c], lists.first[c]->next);
  }
  return ::operator new(c* step);
}

void pool_free(void* pointer, size_t bytes) noexcept {
  const size_t c = size_class(bytes);
  if (bytes > largest || lists.closed || lists.count[c] == most_kept) return ::operator delete(pointer);
  if (lists.count[c] == 0) close_with_thread();
  lists.first[c] = new (pointer) Free{lists.first[c]};
  ++lists.count[c];
}

}  // namespace mora
