#include "engine/allocator.h"

#include <gtest/gtest.h>

#include <cstring>
#include <new>
#include <vector>

namespace mora {
namespace {

TEST(Allocator, GivesAlignedMemoryOfTheSizeAskedFor) {
  for (size_t bytes : {0u, 1u, 63u, 64u, 65u, 512u, 513u, 1000u, 4097u, 100000u, 1234567u}) {
    void* p = allocate(bytes);
    ASSERT_NE(p, nullptr);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(p) % 64, 0u);
    std::memset(p, 1, bytes);
    deallocate(p, bytes);
  }
}

TEST(Allocator, CountsLivePeakAndCachedBytes) {
  constexpr size_t small = 50000;
  release_cached_memory();
  reset_peak_memory();
  const MemoryStats before = memory_stats();
  EXPECT_EQ(before.cached_bytes, 0);
  void* a = allocate(small);
  void* b = allocate(small);
  const MemoryStats both = memory_stats();
  EXPECT_EQ(both.live_blocks, before.live_blocks + 2);
  EXPECT_GE(both.live_bytes, before.live_bytes + int64_t(2 * small));
  EXPECT_LE(both.live_bytes, before.live_bytes + int64_t(2 * small * 9 / 8));  // size classes waste an eighth at most
  deallocate(a, small);
  deallocate(b, small);
  const MemoryStats after = memory_stats();
  EXPECT_EQ(after.live_bytes, before.live_bytes);
  EXPECT_EQ(after.peak_bytes, both.live_bytes);
  EXPECT_EQ(after.cached_bytes, both.live_bytes - before.live_bytes);
  release_cached_memory();
  EXPECT_EQ(memory_stats().cached_bytes, 0);
}

TEST(Allocator, ReusesABlockOfTheSameClass) {
  void* a = allocate(50000);
  deallocate(a, 50000);
  void* b = allocate(49990);
  EXPECT_EQ(a, b);
  deallocate(b, 49990);
}

TEST(Allocator, VaryingSizesDoNotPileUp) {
  release_cached_memory();
  reset_peak_memory();
  for (size_t mebibytes = 1; mebibytes <= 100; ++mebibytes) {
    void* p = allocate(mebibytes << 20);
    deallocate(p, mebibytes << 20);
  }
  const MemoryStats stats = memory_stats();
  EXPECT_LE(stats.cached_bytes + stats.live_bytes, stats.peak_bytes);
  release_cached_memory();
}

TEST(Allocator, RefusesWhatNoMachineHas) { EXPECT_THROW(allocate(SIZE_MAX / 2), std::bad_alloc); }

}  // namespace
}  // namespace mora
