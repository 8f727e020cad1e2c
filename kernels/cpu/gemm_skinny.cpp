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
  const RowFactor factor(b, g.k, g.n, g.transpose_b);
  parallel_for(ceil_div(g.m, rows), grain_of(rows * g.k * g.n), [&](int64_t begin, int64_t end) HWY_ATTR {
    const Scratch<float> room(tile_rows * g.k);
    const int64_t first = begin * rows, last = std::min(end * rows, g.m);
    factor.multiply(a + first * g.k, last - first, y + first * g.n, g.accumulate, room.data());
  });
}

// k long: sum (m, n) = aᵀ·b with m ≤ n, a (k, m), b (k, n); y is sum or its transpose.
template <class X, class Y>
class OuterProducts {
  using D = hn::ScalableTag<float>;

 public:
  OuterProducts(int64_t m, int64_t n, int64_t k, const X* a, const X* b)
      : m_(m),
        n_(n),
        k_(k),
        a_(a),
        b_(b),
        tiles_(ceil_div(m, tile_rows)),
        panels_(D(), n),
        splits_(splits_of(panels_.count, k)),
        row_(panels_.padded_columns()),
        sums_(splits_ * tiles_ * tile_rows * row_) {}

  void write(Y* y, bool transposed, bool accumulate) {
    parallel_for(splits_ * panels_.count, grain_of(m_ * n_ * k_ / (splits_ * panels_.count)),
                 [&](int64_t begin, int64_t end) HWY_ATTR {
                   const Scratch<float> block(depth_block * 2 * panels_.vector),
                       lefts(depth_block * tiles_ * tile_rows);
                   for (int64_t i = begin; i < end;) {  // the run of panels of one split
                     const int64_t split = i / panels_.count;
                     const int64_t first = i - split * panels_.count;
                     const int64_t last = std::min(panels_.count, first + end - i);
                     add_up(split, first, last, block.data(), lefts.data());
                     for (int64_t p = first; p < last && splits_ == 1; ++p) emit(p, y, transposed, accumulate);
                     i += last - first;
                   }
                 });
    if (splits_ > 1)
      parallel_for(panels_.count, 8, [&](int64_t begin, int64_t end) HWY_ATTR {
        for (int64_t p = begin; p < end; ++p) emit(p, y, transposed, accumulate);
      });
  }

 private:
  static constexpr int64_t depth_block = 48;

  // Parts of k that are summed apart, by the shape alone: as many as keep threads equally busy where panels are few.
  static int64_t splits_of(int64_t panels, int64_t k) {
    int64_t splits = 1;
    while (splits * panels < 16 && k / (2 * splits) >= 2 * depth_block) splits *= 2;
    return splits;
  }

  // a's rows k … k + depth in tile t: as they are, or copied to `lefts` where they are 16-bit. A tile's last columns
  // may be the next row's, and their sums are dropped; where there is no next row they are copied too.
  Left<UnitRow> left(int64_t tile, int64_t k, int64_t depth, float* lefts, bool copied) const {
    const X* a = a_ + k * m_ + tile * tile_rows;
    if constexpr (std::is_same_v<X, float>)
      if ((k + depth - 1) * m_ + (tile + 1) * tile_rows <= k_ * m_) return {a, {}, m_};
    float* to = lefts + tile * tile_rows * depth_block;
    const hn::CappedTag<float, size_t(tile_rows)> d;
    if (!copied) copy_rows(d, a, m_, depth, std::min(tile_rows, m_ - tile * tile_rows), tile_rows, to);
    return {to, {}, tile_rows};
  }

  float* sum(int64_t split, int64_t row, int64_t column) const {
    return sums_.data() + (split * tiles_ * tile_rows + row) * row_ + column;
  }

  // The sums of one split of k in panels [first, last). Depth comes in blocks whose rows' pages stay in the TLB from
  // one panel to the next.
  void add_up(int64_t split, int64_t first, int64_t last, float* block, float* lefts) {
    const int64_t begin = k_ * split / splits_;
    const int64_t end = k_ * (split + 1) / splits_;
    for (int64_t k = begin; k < end; k += depth_block)
      for (int64_t p = first; p < last; ++p) {
        const int64_t depth = std::min(depth_block, end - k);
        const auto [b, b_row] = right(k, depth, p, block);
        for (int64_t t = 0; t < tiles_; ++t)
          multiply_panel(
              D(), depth, left(t, k, depth, lefts, p > first), b, b_row,
              Target<float>{sum(split, t * tile_rows, panels_.begin(p)), row_, tile_rows, panels_.width(p), k > begin});
      }
  }

  // b's rows k … k + depth in panel p, likewise.
  std::pair<const float*, int64_t> right(int64_t k, int64_t depth, int64_t p, float* block) const {
    const X* b = b_ + k * n_ + panels_.begin(p);
    if constexpr (std::is_same_v<X, float>)
      if ((k + depth - 1) * n_ + panels_.begin(p) + panels_.width(p) <= k_ * n_) return {b, n_};
    copy_rows(D(), b, n_, depth, panels_.used(p), panels_.width(p), block);
    return {block, panels_.width(p)};
  }

  // y = [y +] the splits of one panel, added in order.
  void emit(int64_t p, Y* y, bool transposed, bool accumulate) {
    const D d;
    const int64_t begin = panels_.begin(p);
    for (int64_t i = 0; i < m_; ++i) {
      for (int64_t s = 1; s < splits_; ++s)
        map(
            d, panels_.width(p), [](auto u, auto v) HWY_ATTR { return hn::Add(u, v); }, sum(0, i, begin),
            sum(0, i, begin), sum(s, i, begin));
      if (transposed) continue;
      Y* row = y + i * n_ + begin;
      if (accumulate)
        map(
            d, panels_.used(p), [](auto u, auto v) HWY_ATTR { return hn::Add(u, v); }, row, row, sum(0, i, begin));
      else
        map(
            d, panels_.used(p), [](auto v) HWY_ATTR { return v; }, row, sum(0, i, begin));
    }
    if (!transposed) return;
    for (int64_t j = begin; j < begin + panels_.used(p); ++j)
      for (int64_t i = 0; i < m_; ++i) {
        Y& to = y[j * m_ + i];
        to = Y((accumulate ? float(to) : 0.0f) + *sum(0, i, j));
      }
  }

  int64_t m_, n_, k_;
  const X* a_;
  const X* b_;
  int64_t tiles_;
  Panels<D> panels_;
  int64_t splits_;  // of k, by the shape alone
  int64_t row_;
  Scratch<float> sums_;  // (splits, tiles · 8, row)
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
