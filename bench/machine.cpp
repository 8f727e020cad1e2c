#include "bench/machine.h"

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <chrono>

#include "engine/error.h"
#include "engine/parallel.h"
#include "engine/tensor.h"
#include "kernels/cpu/bf16_tiles.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "bench/machine.cpp"
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | 0xFF)
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace mora::bench::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

// Returns the number of operations done.
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
  return 2 * rounds * sums * int64_t(hn::Lanes(d));
}

// to = from + other over [begin, end), without `other` where it is null; without `to`, returns the sum. Whole vectors.
float move(const float* from, const float* other, float* to, int64_t begin, int64_t end) {
  const hn::ScalableTag<float> d;
  const auto step = int64_t(hn::Lanes(d));
  if (to) {
    for (int64_t i = begin; i < end; i += step) {
      const auto v = hn::LoadU(d, from + i);
      hn::StoreU(other ? hn::Add(v, hn::LoadU(d, other + i)) : v, d, to + i);
    }
    return 0;
  }
  hn::Vec<decltype(d)> sum[4] = {hn::Zero(d), hn::Zero(d), hn::Zero(d), hn::Zero(d)};
  for (int64_t i = begin; i + 4 * step <= end; i += 4 * step)
    for (int64_t j = 0; j < 4; ++j) sum[j] = hn::Add(sum[j], hn::LoadU(d, from + i + j * step));
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(sum[0], sum[1]), hn::Add(sum[2], sum[3]))));
}

}  // namespace
}  // namespace mora::bench::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::bench {
namespace {

HWY_EXPORT(multiply_add);
HWY_EXPORT(move);

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

int64_t multiply_add_f32(int64_t rounds, float* out) { return HWY_DYNAMIC_DISPATCH(multiply_add)(rounds, out); }

#if defined(__x86_64__)
__attribute__((target("avx512f,avx512bf16"))) int64_t multiply_add_bf16(int64_t rounds, float* out) {
  constexpr int sums = 12;
  __m512 sum[sums];
  for (auto& s : sum) s = _mm512_set1_ps(*out);
  const __m512bh a = _mm512_cvtne2ps_pbh(sum[0], sum[1]);
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 12
    for (auto& s : sum) s = _mm512_dpbf16_ps(s, a, a);
  }
  __m512 total = _mm512_setzero_ps();
  for (auto& s : sum) total = _mm512_add_ps(total, s);
  *out = _mm512_cvtss_f32(total);
  return 2 * rounds * sums * 32;
}

__attribute__((target("amx-tile,amx-bf16"))) int64_t multiply_add_bf16_tiles(int64_t rounds, float* /*out*/) {
  const kernels::cpu::Bf16Tiles tiles(true);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  for (int64_t i = 0; i < rounds; ++i) {
    _tile_dpbf16ps(0, 4, 5);
    _tile_dpbf16ps(1, 4, 5);
    _tile_dpbf16ps(2, 4, 5);
    _tile_dpbf16ps(3, 4, 5);
  }
  return 2 * rounds * 4 * 16 * 16 * 32;
}
#endif

// Operations a second on all threads, the best of ten trials.
double measure_peak(int64_t (*run)(int64_t, float*)) {
  double best = 0;
  for (int trial = 0; trial < 10; ++trial) {
    int64_t done = 0;
    const auto start = std::chrono::steady_clock::now();
#pragma omp parallel num_threads(threads()) reduction(+ : done)
    {
      float x = 1.0f + float(omp_get_thread_num());
      done += run(200'000, &x);
      if (x == 0.5f) done = 0;  // keeps the result in use
    }
    best = std::max(best, double(done) / seconds_since(start));
  }
  return best;
}

}  // namespace

// bf16 may be multiplied as f32 too, and on some processors is so faster than in pairs.
double peak_flops(DType dtype) {
  static const double f32 = measure_peak(multiply_add_f32);
#if defined(__x86_64__)
  if (dtype == DType::bf16 && __builtin_cpu_supports("avx512bf16") != 0) {
    static const double bf16 =
        measure_peak(kernels::cpu::has_bf16_tiles() ? multiply_add_bf16_tiles : multiply_add_bf16);
    return std::max(f32, bf16);
  }
#endif
  return f32;
}

int64_t moved(Traffic traffic, int64_t bytes) {
  switch (traffic) {
    case Traffic::read: return bytes;
    case Traffic::forward: return 2 * bytes;
    case Traffic::forward_backward: return 5 * bytes;
    case Traffic::loss: return 3 * bytes;
  }
  return 0;
}

double bandwidth(Traffic traffic, int64_t bytes) {
  constexpr int64_t block = 1024;  // elements: whole vectors of every instruction set
  const int64_t blocks = std::max<int64_t>(1, bytes / 4 / block);
  const auto tensor = [&] { return Tensor::zeros({blocks * block}); };
  const bool writes = traffic != Traffic::read, both = traffic == Traffic::forward_backward;
  const Tensor x = tensor(), gy = both ? tensor() : Tensor();
  Tensor y = writes ? tensor() : Tensor(), gx = both ? tensor() : Tensor();
  std::atomic<int64_t> seen = 0;
  const auto pass = [&](const float* other, float* to) {
    parallel_for(blocks, 4, [&](int64_t begin, int64_t end) {
      if (HWY_DYNAMIC_DISPATCH(move)(x.data<float>(), other, to, begin * block, end * block) != 0) ++seen;
    });
  };
  double best = 0;
  for (int trial = 0; trial < 12; ++trial) {
    const auto start = std::chrono::steady_clock::now();
    if (traffic == Traffic::read || traffic == Traffic::loss) pass(nullptr, nullptr);
    if (writes) pass(nullptr, y.mutable_data<float>());
    if (both) pass(gy.data<float>(), gx.mutable_data<float>());
    best = std::max(best, double(moved(traffic, 4 * blocks * block)) / seconds_since(start));
  }
  invariant(seen == 0, "bandwidth: zeros do not sum to zero");
  return best;
}

}  // namespace mora::bench
#endif
