#include "engine/crew.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <mutex>
#include <set>
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

TEST_F(Parallel, ACrewCoversEachIndexOnceCallAfterCall) {
  const std::thread::id leader = std::this_thread::get_id();
  with_crew([&] {
    EXPECT_EQ(std::this_thread::get_id(), leader);
    for (int64_t n = 0; n < 2000; ++n) {
      std::vector<int> seen(static_cast<size_t>(n));
      int64_t sum = 0;
      parallel_for(n, 1, [&](int64_t begin, int64_t end) {
        parallel_for(end - begin, 1, [&](int64_t first, int64_t last) {  // inline
          EXPECT_EQ(last - first, end - begin);
        });
        for (int64_t i = begin; i < end; ++i) ++seen[size_t(i)];
      });
      for (int s : seen) sum += s;
      ASSERT_EQ(sum, n);
    }
  });
}

TEST_F(Parallel, ACrewSharesTheWorkAndRangesAreNotSmallerThanTheGrain) {
  std::mutex mutex;
  std::set<std::thread::id> workers;
  with_crew([&] {
    for (int64_t n : {100, 40, 10000})
      parallel_for(n, 40, [&](int64_t begin, int64_t end) {
        EXPECT_GE(end - begin, 40);
        const std::lock_guard lock(mutex);
        workers.insert(std::this_thread::get_id());
      });
  });
  EXPECT_EQ(workers.size(), 4u);
}

TEST_F(Parallel, PiecesCoverEachIndexOnceWhileACrewReadsAhead) {
  const std::vector<std::byte> first(10000), second(77);
  const auto cover = [&](int64_t n) {
    std::vector<std::atomic<int>> seen(static_cast<size_t>(n));
    announce({first, {}, second});
    parallel_pieces(n, 3, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) ++seen[size_t(i)];
    });
    for (const auto& s : seen) ASSERT_EQ(s, 1);
  };
  with_crew([&] {
    for (int64_t n = 0; n < 200; ++n) cover(n);
  });
  cover(1000);
}

TEST_F(Parallel, AThreadThatIsDoneTakesPiecesOfAnothers) {
  std::atomic<int64_t> done = 0;
  with_crew([&] {
    parallel_pieces(1000, 1, [&](int64_t begin, int64_t end) {
      const int64_t others = 1000 - (end - begin);
      const auto late = std::chrono::steady_clock::now() + std::chrono::seconds(20);
      while (begin == 0 && done < others && std::chrono::steady_clock::now() < late) std::this_thread::yield();
      EXPECT_TRUE(begin != 0 || done == others);
      done += end - begin;
    });
  });
  EXPECT_EQ(done, 1000);
}

TEST_F(Parallel, ExceptionsLeaveACrewFromItsJobsAndFromItsBody) {
  const auto fail_from = [](int64_t first) {
    parallel_for(4, 1, [&](int64_t begin, int64_t) {
      if (begin >= first) throw std::runtime_error("here");
    });
  };
  int64_t sum = 0;
  with_crew([&] {
    EXPECT_THROW(fail_from(0), std::runtime_error);
    EXPECT_THROW(fail_from(2), std::runtime_error);
    std::atomic<int64_t> total = 0;
    parallel_for(100, 1, [&](int64_t begin, int64_t end) { total += end - begin; });  // it goes on
    sum = total;
  });
  EXPECT_EQ(sum, 100);
  EXPECT_THROW(with_crew([&] { fail_from(1); }), std::runtime_error);
  std::atomic<int64_t> total = 0;
  parallel_for(100, 1, [&](int64_t begin, int64_t end) { total += end - begin; });
  EXPECT_EQ(total, 100);
}

}  // namespace
}  // namespace mora
