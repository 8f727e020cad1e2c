#include "engine/random.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

namespace mora {
namespace {

// Known answers of Random123 1.09, kat_vectors, philox4x32 10.
TEST(Random, PhiloxGivesTheKnownAnswers) {
  EXPECT_EQ(philox({0, 0, 0, 0}, 0, 0), (PhiloxBlock{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, 0xffffffff, 0xffffffff),
            (PhiloxBlock{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0xa4093822, 0x299f31d0),
            (PhiloxBlock{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Random, EveryPartOfTheKeyMakesAnotherStream) {
  std::set<uint64_t> streams;
  for (uint64_t epoch : {0u, 1u}) {
    for (uint64_t step : {0u, 1u}) {
      for (uint64_t layer : {0u, 1u}) {
        for (Purpose purpose : {Purpose::init, Purpose::dropout}) {
          streams.insert(RandomStream({7, epoch, step, layer, purpose}).stream());
        }
      }
    }
  }
  EXPECT_EQ(streams.size(), 16u);
  EXPECT_NE(RandomStream({.seed = 1}).bits(0), RandomStream({.seed = 2}).bits(0));
  EXPECT_EQ(RandomStream({.seed = 1}).bits(5), RandomStream({.seed = 1}).block(1)[1]);
}

TEST(Random, DistributionsHaveTheirMoments) {
  const RandomStream stream({.seed = 3});
  const int n = 100000;
  double uniform = 0, normal = 0, square = 0;
  std::array<int, 7> counts{};
  for (uint64_t i = 0; i < n; ++i) {
    const float u = stream.uniform(i);
    ASSERT_TRUE(u >= 0 && u < 1);
    uniform += double(u) / n;
    const double z = stream.normal(i);
    normal += z / n;
    square += z * z / n;
    ++counts[stream.below(i, 7)];
  }
  EXPECT_NEAR(uniform, 0.5, 0.005);
  EXPECT_NEAR(normal, 0, 0.02);
  EXPECT_NEAR(square, 1, 0.03);
  for (int c : counts) EXPECT_NEAR(c, n / 7., 700);
}

}  // namespace
}  // namespace mora
