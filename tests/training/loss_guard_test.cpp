#include "mora/training/loss_guard.h"

#include <gtest/gtest.h>

namespace mora {
namespace {

TEST(LossGuard, CountsSpikesAgainstTheRunningMedian) {
  LossHistory history;
  EXPECT_FALSE(observe(history, 100));  // nothing to compare with yet
  for (int i = 0; i < 20; ++i) EXPECT_FALSE(observe(history, 1 + 0.01 * i));
  EXPECT_FALSE(observe(history, 4.2));
  EXPECT_EQ(observe(history, 5), 1.1);
  EXPECT_EQ(history.spikes, 1);
  for (int i = 0; i < 30; ++i) observe(history, 5);
  EXPECT_FALSE(observe(history, 5)) << "the usual loss is 5 by now";
}

TEST(LossGuard, FarAboveTheStartCountsInARowOnly) {
  LossHistory history;
  for (int i = 0; i < 21; ++i) observe(history, 2);
  for (int i = 0; i < 3; ++i) observe(history, 21);
  EXPECT_EQ(history.far_above_start, 3);
  observe(history, 19);
  EXPECT_EQ(history.far_above_start, 0);
}

TEST(LossGuard, LossesWithoutAScaleAreNotJudged) {
  LossHistory history;
  for (int i = 0; i < 50; ++i) EXPECT_FALSE(observe(history, i % 2 ? -1 : 0));
  EXPECT_FALSE(observe(history, 1000));
  EXPECT_EQ(history.far_above_start, 0);
}

}  // namespace
}  // namespace mora
