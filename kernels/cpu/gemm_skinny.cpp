// y = op(a)·op(b) [+ y] where one side is narrow: the products of low-rank adapters and of MoRA's square matrices.
// (N tokens, k inputs, d outputs, rank r.)
//
//   row products   h = x·Aᵀ,  y += h·Bᵀ,  gh = gy·B,  gx += gh·A      m = N: op(b) is small, packed once a call and
//                                                                     read from the caches by every tile of 8 rows
//   outer products gA = ghᵀ·x,  gB = gyᵀ·h                            k = N: the wide factor streams through once
//
// Both end in one tile of up to 8 rows by 2 vectors that stays in registers over the depth. Sums run over k in the
// same order whatever the number of threads is.
#include "kernels/cpu/gemm.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/gemm_skinny.cpp"
#include "kernels/cpu/foreach_target.h"
#include "kernels/cpu/narrow_tile.h"
#include "kernels/cpu/outer_sums.h"
#include "kernels/cpu/simd.h"

#include <algorithm>
#include <type_traits>

#include "engine/parallel.h"
#include "kernels/cpu/scratch.h"

HWY_BEFORE_NAMESPACE();
namespace mora::kernels::cpu::HWY_NAMESPACE {
namespace {

// m long: y = a·op(b).
template <class X, class Y>
void row_products(const Gemm& g, const X* a, const X* b, Y* y) {
  constexpr int64_t rows = 24;  // whole tiles of either kind
  const RowFactor<X> factor(b, g.k, g.n, g.transpose_b);
  parallel_for(ceil_div(g.m, rows), grain_of(rows * g.k * g.n), [&](int64_t begin, int64_t end) HWY_ATTR {
    const Scratch<float> room(tile_rows * g.k);
    const int64_t first = begin * rows, last = std::min(end * rows, g.m);
    factor.multiply(a + first * g.k, last - first, y + first * g.n, g.accumulate, room.data());
  });
}

// k long: sum (m, n) = aᵀ·b with m ≤ n, a (k, m), b (k, n); y is sum or its transpose.
template <class X, class Y>
class OuterProducts {
 public:
  OuterProducts(int64_t m, int64_t n, int64_t k, const X* a, const X* b)
      : k_(k),
        a_(a),
        b_(b),
        place_{m, n, in_bf16_tiles<X>()},
        splits_(parts_of(k, ceil_div(16, place_.panels.count))),  // that keep threads equally busy
        sums_(splits_ * place_.size) {}

  void write(Y* y, bool transposed, bool accumulate) {
    const int64_t panels = place_.panels.count, pieces = splits_ * panels;
    const auto emit = [&](int64_t p) {
      place_.write(p, splits_, place_.size, sums_.data(), transposed, accumulate, y);
    };
    parallel_for(pieces, grain_of(place_.m * place_.n * k_ / pieces), [&](int64_t begin, int64_t end) HWY_ATTR {
      const Scratch<float> block(place_.block * 2 * place_.panels.vector),
          lefts(place_.block * place_.tiles * tile_rows);
      for (int64_t i = begin; i < end;) {  // the run of panels of one split
        const int64_t split = i / panels, first = i - split * panels;
        const int64_t last = std::min(panels, first + end - i);
        add_up(split, first, last, block.data(), lefts.data());
        for (int64_t p = first; p < last && splits_ == 1; ++p) emit(p);
        i += last - first;
      }
    });
    if (splits_ > 1)
      parallel_for(panels, 8, [&](int64_t begin, int64_t end) HWY_ATTR {
        for (int64_t p = begin; p < end; ++p) emit(p);
      });
  }

 private:
  // The sums of one split of k in panels [first, last).
  void add_up(int64_t split, int64_t first, int64_t last, float* block, float* lefts) {
    const int64_t begin = k_ * split / splits_, end = k_ * (split + 1) / splits_, n = place_.n;
    for (int64_t k = begin; k < end; k += place_.block) {
      const int64_t depth = std::min(place_.block, end - k);
      place_.add(first, last, depth, left(k, depth, lefts), Right<X>{b_ + k * n, b_ + k_ * n}, block, k > begin,
                 sums_.data() + split * place_.size);
    }
  }

  // a's rows k … k + depth: as they lie, or copied to `lefts` where they are 16-bit or whole tiles reach beyond its
  // end.
  Left<UnitRow> left(int64_t k, int64_t depth, float* lefts) const {
    const int64_t m = place_.m, width = place_.tiles * tile_rows;
    const X* a = a_ + k * m;
    if constexpr (std::is_same_v<X, float>)
      if ((k + depth - 1) * m + width <= k_ * m) return {a, {}, m};
    copy_rows(hn::CappedTag<float, size_t(tile_rows)>(), a, m, depth, m, width, lefts);
    return {lefts, {}, width};
  }

  int64_t k_;
  const X* a_;
  const X* b_;
  OuterSums place_;
  int64_t splits_;       // of k
  Scratch<float> sums_;  // one a split
};

template <class X, class Y>
void multiply(const Gemm& g, const void* a_data, const void* b_data, void* y_data) {
  const X* a = static_cast<const X*>(a_data);
  const X* b = static_cast<const X*>(b_data);
  Y* y = static_cast<Y*>(y_data);
  if (g.transpose_a && g.n < g.m)
    OuterProducts<X, Y>(g.n, g.m, g.k, b, a).write(y, true, g.accumulate);
  else if (g.transpose_a)
    OuterProducts<X, Y>(g.m, g.n, g.k, a, b).write(y, false, g.accumulate);
  else
    row_products(g, a, b, y);
}

void gemm_skinny_target(const Gemm& g, const void* a, const void* b, void* y) {
  if (g.input == DType::f32)
    multiply<float, float>(g, a, b, y);
  else if (g.output == DType::bf16)
    multiply<bf16_t, bf16_t>(g, a, b, y);
  else
    multiply<bf16_t, float>(g, a, b, y);
}

}  // namespace
}  // namespace mora::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::kernels::cpu {

HWY_EXPORT(gemm_skinny_target);

bool is_skinny(const Gemm& g) {
  if (g.transpose_a && g.transpose_b) return false;
  const int64_t left = g.transpose_a ? g.m : g.k;  // the two sides that are not long
  const int64_t right = g.n;
  const int64_t length = g.transpose_a ? g.k : g.m;
  return length >= 32 && left * right <= 1 << 18 && (std::min(left, right) <= 32 || std::max(left, right) <= 128);
}

void gemm_skinny(const Gemm& g, const void* a, const void* b, void* y) {
  HWY_DYNAMIC_DISPATCH(gemm_skinny_target)(g, a, b, y);
}

}  // namespace mora::kernels::cpu
#endif
