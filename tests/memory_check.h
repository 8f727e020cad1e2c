// Fails a test that ends with other live memory than it began with: a tensor, or a graph of them, that nobody owns any
// more. Every test program has it (tests/support/main.cpp).
#pragma once

#include <gtest/gtest.h>

#include "engine/allocator.h"

namespace mora::test {

class MemoryCheck final : public testing::EmptyTestEventListener {
 public:
  void OnTestStart(const testing::TestInfo&) override { before_ = memory_stats(); }
  void OnTestEnd(const testing::TestInfo&) override {
    const MemoryStats after = memory_stats();
    EXPECT_EQ(after.live_blocks, before_.live_blocks) << "the test leaks blocks of the caching allocator";
    EXPECT_EQ(after.live_bytes, before_.live_bytes) << "the test leaks memory of the caching allocator";
  }

 private:
  MemoryStats before_;
};

}  // namespace mora::test
