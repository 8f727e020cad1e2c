// The caching allocator of processor memory: 64-byte aligned blocks, small ones kept by size class when freed and large
// ones cut from an arena (engine/arena.h), so that a training step in its steady state touches no page for the first
// time.
#pragma once

#include <cstddef>
#include <cstdint>

namespace mora {

struct MemoryStats {
  int64_t live_bytes = 0;    // in use, as rounded up
  int64_t peak_bytes = 0;    // the most live at one time since the start or the last reset_peak_memory
  int64_t cached_bytes = 0;  // freed by their users, kept for reuse
  int64_t live_blocks = 0;
};

// `bytes` of 64-byte aligned memory; never null, also for 0 bytes. Thread-safe. Throws std::bad_alloc.
void* allocate(size_t bytes);
// Gives back what allocate(bytes) returned, with the same `bytes`.
void deallocate(void* pointer, size_t bytes) noexcept;

MemoryStats memory_stats();
void reset_peak_memory();
// Returns all cached blocks to the system.
void release_cached_memory();

}  // namespace mora
