#include "peak.h"

#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cstdint>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "peak.cpp"
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | 0xFF)
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace mora::bench::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

// Returns the number of multiply-adds done.
int64_t multiply_add(int64_t rounds, float* out) {
  const hn::ScalableTag<float> d;
  constexpr int sums = 12;
  hn::Vec<decltype(d)> sum[sums];
  for (auto& s : sum) s = hn::Set(d, *out);
  const auto a = hn::Set(d, 1 + *out * 1e-7f), b = hn::Set(d, *out * 1e-7f);
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 12
    for (auto& s : sum) s = hn::MulAdd(s, a, b);
  }
  auto total = hn::Zero(d);
  for (auto& s : sum) total = hn::Add(total, s);
  *out = hn::GetLane(total);
  return rounds * sums * int64_t(hn::Lanes(d));
}

}  // namespace
}  // namespace mora::bench::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::bench {

HWY_EXPORT(multiply_add);

double peak_fma(int threads) {
  double best = 0;
  for (int trial = 0; trial < 10; ++trial) {
    int64_t done = 0;
    const auto start = std::chrono::steady_clock::now();
#pragma omp parallel num_threads(threads) reduction(+ : done)
    {
      float x = 1.0f + float(omp_get_thread_num());
      done += HWY_DYNAMIC_DISPATCH(multiply_add)(200'000, &x);
      if (x == 0.5f) done = 0;  // keeps the result in use
    }
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    best = std::max(best, double(done) / seconds * 1e-9);
  }
  return best;
}

}  // namespace mora::bench
#endif
