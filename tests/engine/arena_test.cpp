#include "engine/arena.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <random>

namespace mora {
namespace {

constexpr size_t mebibyte = 1 << 20;

TEST(Arena, BlocksAreAlignedAndStartAtDifferentOffsetsOfAPage) {
  Arena arena(1 << 30);
  void* a = arena.allocate(mebibyte);
  void* b = arena.allocate(mebibyte);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(a) % 64, 0u);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(b) % 64, 0u);
  EXPECT_NE(reinterpret_cast<uintptr_t>(a) % 4096, reinterpret_cast<uintptr_t>(b) % 4096);
  EXPECT_TRUE(arena.contains(a) && arena.contains(b));
  int outside = 0;
  EXPECT_FALSE(arena.contains(&outside));
}

TEST(Arena, ABlockGoesWhereItFitsBest) {
  Arena arena(1 << 30);
  void* three = arena.allocate(3 * mebibyte);
  arena.allocate(mebibyte);
  void* two = arena.allocate(2 * mebibyte);
  arena.allocate(mebibyte);
  arena.deallocate(three, 3 * mebibyte);
  arena.deallocate(two, 2 * mebibyte);
  EXPECT_EQ(arena.allocate(2 * mebibyte), two);
  EXPECT_EQ(arena.allocate(2 * mebibyte), three);
}

TEST(Arena, FreedNeighboursJoin) {
  for (const auto& order : {std::array{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {2, 1, 0}}) {
    Arena arena(1 << 30);
    std::array<void*, 3> blocks;
    for (void*& block : blocks) block = arena.allocate(mebibyte);
    arena.allocate(mebibyte);
    for (int i : order) arena.deallocate(blocks[size_t(i)], mebibyte);
    EXPECT_EQ(arena.allocate(3 * mebibyte), blocks[0]);
  }
}

// More free ranges than the first account of them had room for: deallocate is noexcept and must find room.
TEST(Arena, ManyScatteredHolesAreKeptAndJoined) {
  Arena arena(1 << 30);
  std::vector<void*> blocks(5000);
  for (void*& block : blocks) block = arena.allocate(4096);
  for (size_t i = 0; i < blocks.size(); i += 2) arena.deallocate(blocks[i], 4096);
  for (size_t i = 1; i < blocks.size(); i += 2) arena.deallocate(blocks[i], 4096);
  EXPECT_EQ(arena.allocate(5000 * 4096), blocks[0]);
}

TEST(Arena, BatchesOfVaryingLengthStayNearTheLargest) {
  Arena arena(1 << 30);
  std::mt19937 random(1);
  size_t largest = 0;
  for (int step = 0; step < 200; ++step) {
    const size_t tokens = 200 + random() % 1500;
    std::vector<std::pair<void*, size_t>> blocks;
    size_t sum = 0;
    for (int i = 0; i < 60; ++i) {
      const size_t bytes = tokens * (i % 4 ? 1536 : 6144);
      sum += Arena::rounded(bytes);
      blocks.emplace_back(arena.allocate(bytes), bytes);
    }
    largest = std::max(largest, sum);
    for (auto block = blocks.rbegin(); block != blocks.rend(); ++block) arena.deallocate(block->first, block->second);
    ASSERT_LE(arena.idle_bytes(), largest);
  }
}

TEST(Arena, BlocksNeverOverlap) {
  Arena arena(1 << 30);
  std::mt19937 random(2);
  struct Block {
    std::byte* at;
    size_t bytes;
    int mark;
  };
  std::vector<Block> live;
  for (int step = 0; step < 3000; ++step) {
    if (live.size() < 40 && random() % 2 == 0) {
      const size_t bytes = 1 + random() % (mebibyte / 2);
      auto* at = static_cast<std::byte*>(arena.allocate(bytes));
      ASSERT_NE(at, nullptr);
      std::memset(at, step & 255, bytes);
      live.push_back({at, bytes, step & 255});
    } else if (!live.empty()) {
      std::swap(live[random() % live.size()], live.back());
      const Block block = live.back();
      live.pop_back();
      ASSERT_TRUE(std::all_of(block.at, block.at + block.bytes, [&](std::byte b) { return int(b) == block.mark; }));
      arena.deallocate(block.at, block.bytes);
    }
    if (step % 500 == 0) arena.release();
  }
}

TEST(Arena, IsFullWhenItIsFull) {
  Arena arena(1 << 28);
  EXPECT_EQ(arena.allocate(1 << 28), nullptr);
  EXPECT_EQ(arena.allocate(SIZE_MAX / 2), nullptr);
  void* most = arena.allocate((1 << 28) - mebibyte);
  ASSERT_NE(most, nullptr);
  EXPECT_EQ(arena.allocate(mebibyte), nullptr);
  arena.deallocate(most, (1 << 28) - mebibyte);
  EXPECT_NE(arena.allocate(mebibyte), nullptr);
}

TEST(Arena, OneThatCouldReserveNothingHasNoBlocks) {
  Arena arena(0);
  EXPECT_EQ(arena.allocate(1), nullptr);
  EXPECT_EQ(arena.idle_bytes(), 0u);
}

TEST(Arena, ReleasedPagesAreZeroAgain) {
  Arena arena(1 << 30);
  auto* a = static_cast<unsigned char*>(arena.allocate(mebibyte));
  std::memset(a, 7, mebibyte);
  arena.deallocate(a, mebibyte);
  arena.release();
  EXPECT_EQ(arena.idle_bytes(), 0u);
  EXPECT_EQ(arena.allocate(mebibyte), a);
  EXPECT_EQ(a[mebibyte / 2], 0);
}

}  // namespace
}  // namespace mora
