#include "engine/pool.h"

#include <gtest/gtest.h>

#include <cstring>
#include <thread>
#include <vector>

namespace mora {
namespace {

TEST(PoolTest, BlocksDoNotOverlap) {
  std::vector<std::pair<unsigned char*, size_t>> blocks;
  for (size_t bytes = 1; bytes <= 1200; bytes += 7) {
    for (int copies = 0; copies < 3; ++copies) {
      auto* block = static_cast<unsigned char*>(pool_allocate(bytes));
      ASSERT_EQ(reinterpret_cast<uintptr_t>(block) % 16, 0u);
      std::memset(block, int(blocks.size() % 251), bytes);
      blocks.emplace_back(block, bytes);
    }
    if (bytes % 3 == 0) {  // comes again for the next sizes
      pool_free(blocks.back().first, blocks.back().second);
      blocks.pop_back();
    }
  }
  for (size_t i = 0; i < blocks.size(); ++i) {
    for (size_t n = 1; n < blocks[i].second; ++n) ASSERT_EQ(blocks[i].first[n], blocks[i].first[0]);
  }
  for (auto [block, bytes] : blocks) pool_free(block, bytes);
}

// Under the address sanitizer a leak of what a finished thread kept is an error.
TEST(PoolTest, BlocksPassBetweenThreads) {
  std::vector<void*> blocks(100);
  std::thread([&] {
    for (void*& block : blocks) block = pool_allocate(100);
  }).join();
  std::thread([&] {
    for (void* block : blocks) pool_free(block, 100);
  }).join();
}

TEST(PoolTest, ServesContainers) {
  std::vector<int, Pooled<int>> values;
  for (int i = 0; i < 1000; ++i) values.push_back(i);
  const auto copy = values;
  EXPECT_EQ(copy[999], 999);
}

}  // namespace
}  // namespace mora
