#include <gtest/gtest.h>

#include "engine/parallel.h"
#include "kernels/unary.h"
#include "kernels/values.h"

namespace mora::test {
namespace {

const RandomKey key{.seed = 0x123456789ABCDEF0, .epoch = 1, .step = 7, .layer = 3, .purpose = Purpose::dropout};
const RandomStream stream(key);

Tensor drop(const Tensor& x, double p) {
  Tensor y = Tensor::empty(x.meta());
  kernels::dropout(x, y, p, key, Tensor());
  return y;
}

TEST(Dropout, KeepsWhereTheStreamsNumbersAreAtLeastP) {
  for (DType dtype : {DType::f64, DType::f32, DType::bf16, DType::f16}) {
    for (int64_t n : {0, 1, 3, 15, 16, 17, 63, 64, 65, 127, 1000, 70001}) {
      for (double p : {0., 0.1, 0.5, 0.9, 1.}) {
        const Tensor x = tensor_of(Values(size_t(n), 1.5), {n}, dtype);
        Values expected;
        for (int64_t i = 0; i < n; ++i)
          expected.push_back(double(stream.uniform(uint64_t(i))) >= p ? 1.5 / (1 - p) : 0);
        ASSERT_LE(difference(values_of(drop(x, p)), expected), tolerance(dtype)) << n << " " << p << name_of(dtype);
      }
    }
  }
}

TEST(Dropout, TakesEpochAndStepFromAClock) {
  const Tensor x = tensor_of(Values(1000, 1), {1000}, DType::f32),
               clock = Tensor::from(std::vector<int64_t>{1, 7}, {2});
  RandomKey elsewhere = key;
  elsewhere.epoch = 9, elsewhere.step = 9;
  Tensor y = Tensor::empty(x.meta());
  kernels::dropout(x, y, 0.3, elsewhere, clock);
  EXPECT_EQ(values_of(y), values_of(drop(x, 0.3)));
  kernels::dropout(x, y, 0.3, elsewhere, Tensor());
  EXPECT_NE(values_of(y), values_of(drop(x, 0.3)));
}

TEST(Dropout, KeepsTheExpectedShareAndDoesNotDependOnThreads) {
  const int64_t n = 200000;
  const Tensor x = tensor_of(Values(size_t(n), 1), {n}, DType::f32);
  const int before = threads();
  set_threads(1);
  const Values one = values_of(drop(x, 0.1));
  set_threads(3);
  EXPECT_EQ(values_of(drop(x, 0.1)), one);
  set_threads(before);
  const auto dropped = double(std::count(one.begin(), one.end(), 0.));
  EXPECT_NEAR(dropped / double(n), 0.1, 0.004);  // six standard deviations
}

TEST(Dropout, DropsInfinityToZero) {
  const Tensor x = tensor_of(Values(64, HUGE_VAL), {64}, DType::f32);
  for (double v : values_of(drop(x, 0.5))) EXPECT_TRUE(v == 0 || v == HUGE_VAL);
}

}  // namespace
}  // namespace mora::test
