// Memory for the small, short-lived objects of a step: tensors' handles, nodes of the tape and their lists. What a
// thread frees waits, by size, for its next object: no lock, and no search as in a heap.
#pragma once

#include <cstddef>

namespace mora {

// `bytes` of memory aligned to 16. Throws std::bad_alloc.
void* pool_allocate(size_t bytes);
// Gives back what pool_allocate(bytes) returned, on any thread.
void pool_free(void* pointer, size_t bytes) noexcept;

// An allocator for standard containers.
template <class T>
struct Pooled {
  using value_type = T;
  Pooled() = default;
  template <class U>
  Pooled(const Pooled<U>&) {}  // NOLINT(google-explicit-constructor)

  T* allocate(size_t n) { return static_cast<T*>(pool_allocate(n * sizeof(T))); }
  void deallocate(T* pointer, size_t n) noexcept { pool_free(pointer, n * sizeof(T)); }
  bool operator==(const Pooled&) const { return true; }
};

}  // namespace mora
