#include "engine/team.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <thread>
#include <vector>

namespace mora {
namespace {

class Parallel : public testing::Test {
 protected:
  void SetUp() override { set_threads(4); }
  void TearDown() override { set_threads(before_); }

 private:
  int before_ = threads();
};

TEST_F(Parallel, CoversEachIndexOnce) {
  for (int64_t n : {0, 1, 3, 4, 5, 1000, 1003}) {
    std::vector<std::atomic<int>> seen(static_cast<size_t>(n));
    parallel_for(n, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) ++seen[size_t(i)];
    });
    for (const auto& s : seen) EXPECT_EQ(s, 1);
  }
}

TEST_F(Parallel, RangesAreNotSmallerThanTheGrain) {
  std::atomic<int> calls = 0;
  parallel_for(100, 40, [&](int64_t begin, int64_t end) {
    ++calls;
    EXPECT_GE(end - begin, 40);
  });
  EXPECT_EQ(calls, 2);
  calls = 0;
  parallel_for(100, 51, [&](int64_t, int64_t) { ++calls; });
  EXPECT_EQ(calls, 1);
}

TEST_F(Parallel, NestedCallsRunInline) {
  std::atomic<int> inner = 0;
  parallel_for(4, 1, [&](int64_t, int64_t) { parallel_for(100, 1, [&](int64_t, int64_t) { ++inner; }); });
  EXPECT_EQ(inner, 4);
}

TEST_F(Parallel, AnExceptionReachesTheCaller) {
  EXPECT_THROW(parallel_for(4, 1,
                            [](int64_t begin, int64_t) {
                              if (begin > 0) throw std::runtime_error("here");
                            }),
               std::runtime_error);
}

TEST_F(Parallel, WhatAMemberOfATeamWroteAllSeeAfterAMeeting) {
  constexpr int64_t n = 103, rounds = 100;
  std::vector<int64_t> values(size_t(n), 0);
  std::atomic<int64_t> wrong = 0, members = 0;
  with_team([&](TeamMember& member) {
    ++members;
    for (int64_t round = 1; round <= rounds; ++round) {
      for (int64_t i = member.begin(n); i < member.end(n); ++i) values[size_t(i)] += round;
      member.meet();
      for (int64_t v : values) wrong += v != round * (round + 1) / 2;  // all parts are there, each once
      member.meet();
    }
  });
  EXPECT_EQ(members, 4);
  EXPECT_EQ(wrong, 0);
}

TEST_F(Parallel, TheCallerIsATeamsFirstMemberAndAloneInAParallelRegion) {
  const std::thread::id caller = std::this_thread::get_id();
  with_team([&](TeamMember& member) { EXPECT_EQ(member.index() == 0, std::this_thread::get_id() == caller); });
  std::atomic<int> calls = 0;
  parallel_for(4, 1, [&](int64_t, int64_t) {
    with_team([&](TeamMember& member) {
      ++calls;
      EXPECT_EQ(member.begin(10), 0);
      EXPECT_EQ(member.end(10), 10);
      member.meet();
    });
  });
  EXPECT_EQ(calls, 4);
}

}  // namespace
}  // namespace mora
