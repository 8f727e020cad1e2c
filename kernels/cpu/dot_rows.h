// Dot products of a few vectors with a row in memory, as it lies. Included after kernels/cpu/foreach_target.h, once for
// each instruction set.
#if defined(MORA_KERNELS_CPU_DOT_ROWS_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MORA_KERNELS_CPU_DOT_ROWS_H_
#undef MORA_KERNELS_CPU_DOT_ROWS_H_
#else
#define MORA_KERNELS_CPU_DOT_ROWS_H_
#endif

#include <algorithm>
#include <array>

#include "kernels/cpu/block_product.h"
#include "kernels/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace mora::kernels::cpu::HWY_NAMESPACE {

// A vector of elements E (kernels/cpu/block_product.h): pairs of bf16 as they lie, f32 from any floating dtype. With n,
// the first n factors, then zeros.
template <class E, class D, class T, class... N>
HWY_INLINE hn::Vec<D> load_elements(D d, const T* p, N... n) {
  if constexpr (std::is_same_v<E, Bf16Pair>) {
    const hn::Repartition<uint16_t, D> bits;
    return hn::BitCast(d, load(bits, reinterpret_cast<const uint16_t*>(p), n...));
  } else {
    return load(d, p, n...);
  }
}

// dots[i] = x_i·w for COUNT vectors x_i of k factors, `stride` apart, and one row w after the other: memory comes twice
// as fast in one stream as in four (measured). The first HELD vectors of each x_i stay in registers. Every load less
// lets the processor run further ahead: pairs of bf16, one x and 16 vectors take a tenth less of a token's time (Zen 4,
// 60 GB/s).
template <class E, int COUNT, int HELD>
class RowDots {
 public:
  using Factor = typename Element<E>::Factor;

  RowDots(const Factor* x, int64_t stride, int64_t k) : x_(x), stride_(stride), k_(k) {
#pragma GCC unroll 16
    for (int c = 0; c < HELD; ++c)
#pragma GCC unroll 4
      for (int i = 0; i < COUNT; ++i) held_[c][i] = load_elements<E>(d, x + i * stride + c * step());
  }

  // As many bytes as the row has are asked for at `ahead`, into the second cache: asked into the first, which has fewer
  // lines under way, they took a fifth more time (Zen 4).
  template <class W>
  HWY_INLINE void operator()(const W* w, const W* ahead, float* dots) const {
    V sums[COUNT][2];  // two a vector hide the latency of a multiply-add
#pragma GCC unroll 4
    for (int i = 0; i < COUNT; ++i) sums[i][0] = sums[i][1] = hn::Zero(d);
    const auto add = [&](int64_t j, int of, auto x_of) HWY_ATTR {
      __builtin_prefetch(ahead + j, 0, 2);
      const V v = load_elements<E>(d, w + j);
#pragma GCC unroll 4
      for (int i = 0; i < COUNT; ++i) add_product(d, x_of(i), v, sums[i][of], E{});
    };
#pragma GCC unroll 16
    for (int c = 0; c < HELD; ++c) add(c * step(), c % 2, [&](int i) HWY_ATTR { return held_[c][i]; });
    int64_t j = HELD * step();
    for (; j + 2 * step() <= k_; j += 2 * step())
#pragma GCC unroll 2
      for (int c = 0; c < 2; ++c)
        add(j + c * step(), c, [&](int i) HWY_ATTR { return load_elements<E>(d, x_ + i * stride_ + j + c * step()); });
    for (; j < k_; j += step()) {
      const int64_t left = std::min(step(), k_ - j);
      const V v = load_elements<E>(d, w + j, left);
#pragma GCC unroll 4
      for (int i = 0; i < COUNT; ++i)
        add_product(d, load_elements<E>(d, x_ + i * stride_ + j, left), v, sums[i][0], E{});
    }
#pragma GCC unroll 4
    for (int i = 0; i < COUNT; ++i) dots[i] = hn::GetLane(hn::SumOfLanes(d, hn::Add(sums[i][0], sums[i][1])));
  }

  static int64_t step() { return lanes(d) * Element<E>::factors; }

 private:
  static constexpr hn::ScalableTag<float> d{};
  using V = hn::Vec<hn::ScalableTag<float>>;

  const Factor* x_;
  int64_t stride_, k_;
  std::array<std::array<V, COUNT>, HELD> held_;
};

// scores[i·score_stride + j] = x_i·w_j for COUNT vectors x_i of k factors, x_stride apart, and the n rows w_j, w_stride
// apart; up to the next multiple of four scores are written.
template <class E, int COUNT, class X, class W>
void dot_rows(const X* x, int64_t x_stride, const W* w, int64_t w_stride, int64_t n, int64_t k, float* scores,
              int64_t score_stride) {
  const hn::ScalableTag<float> d;
  using V = hn::Vec<decltype(d)>;
  const int64_t step = lanes(d) * Element<E>::factors;
  for (int64_t row = 0; row < n; row += 4) {
    V sums[COUNT][4];
    const W* rows[4];
    for (int64_t j = 0; j < 4; ++j) {
      rows[j] = w + std::min(row + j, n - 1) * w_stride;
#pragma GCC unroll 4
      for (int i = 0; i < COUNT; ++i) sums[i][j] = hn::Zero(d);
    }
    const auto add = [&](int64_t at, auto... count) HWY_ATTR {
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        const V v = load_elements<E>(d, rows[j] + at, count...);
#pragma GCC unroll 4
        for (int i = 0; i < COUNT; ++i)
          add_product(d, load_elements<E>(d, x + i * x_stride + at, count...), v, sums[i][j], E{});
      }
    };
    int64_t at = 0;
    for (; at + step <= k; at += step) add(at);
    if (at < k) add(at, k - at);
#pragma GCC unroll 4
    for (int i = 0; i < COUNT; ++i)
      hn::StoreU(sums_of_lanes(d, sums[i]), hn::CappedTag<float, 4>(), scores + i * score_stride + row);
  }
}

}  // namespace mora::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
