// Dot products of a few vectors with a row in memory, as it lies. Included after kernels/cpu/foreach_target.h, once for
// each instruction set.
#if defined(MORA_KERNELS_CPU_DOT_ROWS_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MORA_KERNELS_CPU_DOT_ROWS_H_
#undef MORA_KERNELS_CPU_DOT_ROWS_H_
#else
#define MORA_KERNELS_CPU_DOT_ROWS_H_
#endif

#include <algorithm>

#include "kernels/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace mora::kernels::cpu::HWY_NAMESPACE {

// dots[i] = x_i·w for COUNT vectors x_i of k elements, `stride` apart. Rows are best taken one after the other: memory
// comes twice as fast in one stream as in four (measured).
template <int COUNT, class W>
HWY_INLINE void dot_row(const float* x, int64_t stride, const W* w, int64_t k, float* dots) {
  const hn::ScalableTag<float> d;
  using V = hn::Vec<decltype(d)>;
  V even[COUNT], odd[COUNT];  // two sums a vector hide the latency of a multiply-add
#pragma GCC unroll 4
  for (int i = 0; i < COUNT; ++i) even[i] = odd[i] = hn::Zero(d);
  int64_t j = 0;
  for (; j + 2 * lanes(d) <= k; j += 2 * lanes(d)) {
    const V w0 = load(d, w + j), w1 = load(d, w + j + lanes(d));
#pragma GCC unroll 4
    for (int i = 0; i < COUNT; ++i) {
      even[i] = hn::MulAdd(hn::LoadU(d, x + i * stride + j), w0, even[i]);
      odd[i] = hn::MulAdd(hn::LoadU(d, x + i * stride + j + lanes(d)), w1, odd[i]);
    }
  }
  for (; j < k; j += lanes(d)) {
    const int64_t left = std::min(lanes(d), k - j);
    const V w0 = load(d, w + j, left);
#pragma GCC unroll 4
    for (int i = 0; i < COUNT; ++i) even[i] = hn::MulAdd(load(d, x + i * stride + j, left), w0, even[i]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < COUNT; ++i) dots[i] = hn::GetLane(hn::SumOfLanes(d, hn::Add(even[i], odd[i])));
}

}  // namespace mora::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
