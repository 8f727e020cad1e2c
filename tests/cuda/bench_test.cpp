// The benchmarks of `mora bench --device cuda` at their smallest sizes: each checks its results on the device, and says
// what it measured.
#include "bench/bench.h"

#include "cuda/twin.h"

namespace mora::test {
namespace {

struct BenchOnDevice : testing::TestWithParam<std::string_view> {};

std::vector<std::string_view> subjects_on_card() {
  std::vector<std::string_view> names;
  for (const bench::Subject& s : bench::subjects())
    if (s.on_card) names.push_back(s.name);
  return names;
}
INSTANTIATE_TEST_SUITE_P(Subjects, BenchOnDevice, testing::ValuesIn(subjects_on_card()),
                         [](const auto& subject) { return std::string(subject.param); });

TEST_P(BenchOnDevice, ChecksAndMeasures) {
  bench::Inputs in;
  in.device = device;
  in.smallest = true;
  for (const bench::Subject& s : bench::subjects()) {
    if (s.name != GetParam()) continue;
    int rows = 0;
    s.run(in, [&](const bench::Row& row) {
      EXPECT_GT(row.seconds, 0) << row.name;
      EXPECT_GT(row.rate, 0) << row.name;
      EXPECT_GT(row.limit, 0) << row.name;
      EXPECT_FALSE(row.unit.empty()) << row.name;
      ++rows;
    });
    EXPECT_GE(rows, 2);
  }
}

TEST(BenchCheck, AWrongResultIsAnError) {
  const Tensor a = Tensor::from(std::vector<float>{1, 2, 3}, {3}),
               b = Tensor::from(std::vector<float>{1, 2, 3.1f}, {3});
  bench::check_same("a", a.to(device), a);
  EXPECT_THROW(bench::check_same("a", a.to(device), b), Error);
}

}  // namespace
}  // namespace mora::test
