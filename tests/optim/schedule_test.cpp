// Schedules against the multipliers that transformers computes (tests/goldens/write_schedule_goldens.py).
#include "optim/schedule.h"

#include <gtest/gtest.h>

#include "goldens/schedules.h"

namespace mora {
namespace {

TEST(Schedule, AgreesWithTransformersOverAHundredUpdates) {
  for (const auto& [schedule, expected] : goldens::schedules) {
    for (int64_t step = 0; step < 100; ++step)
      EXPECT_NEAR(schedule.multiplier(step), expected[static_cast<size_t>(step)], 1e-12)
          << "kind " << static_cast<int>(schedule.kind) << ", warmup " << schedule.warmup << ", step " << step;
  }
}

TEST(Schedule, TheFirstUpdateOfAWarmUpDoesNotMove) {
  for (ScheduleKind kind : {ScheduleKind::linear, ScheduleKind::cosine, ScheduleKind::cosine_with_restarts,
                            ScheduleKind::polynomial, ScheduleKind::inverse_sqrt, ScheduleKind::constant_with_warmup})
    EXPECT_EQ((Schedule{.kind = kind, .warmup = 5, .total = 50}.multiplier(0)), 0.0);
}

TEST(Schedule, ADecayEndsAtTheFloorAndStaysThere) {
  for (ScheduleKind kind : {ScheduleKind::linear, ScheduleKind::cosine_with_restarts, ScheduleKind::polynomial,
                            ScheduleKind::warmup_stable_decay}) {
    const Schedule schedule{.kind = kind, .warmup = 5, .total = 50, .min_ratio = 0.25, .decay = 20};
    EXPECT_DOUBLE_EQ(schedule.multiplier(50), 0.25) << static_cast<int>(kind);
    EXPECT_DOUBLE_EQ(schedule.multiplier(70), 0.25) << static_cast<int>(kind);
  }
}

TEST(Schedule, WarmUpAsLongAsTheRunDividesByNothing) {
  const Schedule schedule{.kind = ScheduleKind::cosine, .warmup = 10, .total = 10};
  EXPECT_DOUBLE_EQ(schedule.multiplier(9), 0.9);
  EXPECT_DOUBLE_EQ(schedule.multiplier(10), 1.0);
}

}  // namespace
}  // namespace mora
