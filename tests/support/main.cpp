// The main of every test program: GoogleTest's, with the memory check.
#include <gtest/gtest.h>

#include "memory_check.h"

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  auto& listeners = testing::UnitTest::GetInstance()->listeners();
  // Listeners hear of a test's end in reverse order: after the printer here means before it there.
  listeners.Append(new mora::test::MemoryCheck);
  return RUN_ALL_TESTS();
}
