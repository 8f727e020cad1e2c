// Tiles of products with a narrow side: up to 8 rows by 2 vectors stay in registers over the depth, which is of
// elements E, f32 or pairs of bf16 (kernels/cpu/bf16_pairs.h). Included after kernels/cpu/foreach_target.h, once for
// each instruction set.
#if defined(MORA_KERNELS_CPU_NARROW_TILE_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MORA_KERNELS_CPU_NARROW_TILE_H_
#undef MORA_KERNELS_CPU_NARROW_TILE_H_
#else
#define MORA_KERNELS_CPU_NARROW_TILE_H_
#endif

#include <algorithm>
#include <type_traits>
#include <utility>

#include "kernels/cpu/bf16_pairs.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/simd.h"
#include "kernels/cpu/tile_factor.h"

HWY_BEFORE_NAMESPACE();
namespace mora::kernels::cpu::HWY_NAMESPACE {

constexpr int64_t tile_rows = 8;
constexpr bool many_registers = HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_NEON;  // 32 rather than 16

HWY_INLINE int64_t ceil_div(int64_t n, int64_t by) { return (n + by - 1) / by; }

// How many pieces of work pay for a thread, given the multiply-adds of one.
HWY_INLINE int64_t grain_of(int64_t multiply_adds) { return ceil_div(1 << 17, std::max<int64_t>(1, multiply_adds)); }

// Element (i, k) of a tile of the left factor is data[i·row + k·step]. Row: int64_t or a constant.
template <class Row>
struct Left {
  const float* data;
  Row row;
  int64_t step;
};
using UnitRow = std::integral_constant<int64_t, 1>;

// Where a tile ends: `rows` by `columns` of y are written.
template <class Y>
struct Target {
  Y* data;
  int64_t row;
  int64_t rows, columns;
  bool accumulate;
};

// y (≤ Rows, ≤ Vectors vectors) = [y +] Σ_k a(·, k)·b(k, ·). All Rows of a and whole vectors of b are read.
template <class E, int Rows, int Vectors, class D, class Row, class Y>
HWY_INLINE void multiply_tile(D d, int64_t depth, Left<Row> a, const float* b, int64_t b_row, Target<Y> y) {
  hn::Vec<D> sum[Rows][Vectors];
#pragma GCC unroll 8
  for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 2
    for (int j = 0; j < Vectors; ++j) sum[i][j] = hn::Zero(d);

  const float* pa = a.data;
  for (int64_t k = 0; k < depth; ++k, pa += a.step, b += b_row) {
    hn::Vec<D> vb[Vectors];
#pragma GCC unroll 2
    for (int j = 0; j < Vectors; ++j) vb[j] = hn::LoadU(d, b + j * lanes(d));
#pragma GCC unroll 8
    for (int i = 0; i < Rows; ++i) {
      const auto va = hn::Set(d, pa[i * int64_t(a.row)]);
#pragma GCC unroll 2
      for (int j = 0; j < Vectors; ++j) add_product(d, va, vb[j], sum[i][j], E{});
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < Rows; ++i) {
    if (i >= y.rows) break;
    Y* row = y.data + i * y.row;
#pragma GCC unroll 2
    for (int j = 0; j < Vectors; ++j) {
      const int64_t column = j * lanes(d);
      const int64_t left = y.columns - column;
      if (left >= lanes(d))
        store(y.accumulate ? hn::Add(sum[i][j], load(d, row + column)) : sum[i][j], d, row + column);
      else if (left > 0)
        store(y.accumulate ? hn::Add(sum[i][j], load(d, row + column, left)) : sum[i][j], d, row + column, left);
    }
  }
}

// The same for up to 8 rows by 2 vectors; b's rows hold one vector where y needs no more.
template <class E, class D, class Row, class Y>
HWY_INLINE void multiply_panel(D d, int64_t depth, Left<Row> a, const float* b, int64_t b_row, Target<Y> y) {
  if (y.columns <= lanes(d)) {
    multiply_tile<E, 8, 1>(d, depth, a, b, b_row, y);
  } else if constexpr (many_registers) {
    multiply_tile<E, 8, 2>(d, depth, a, b, b_row, y);
  } else {
    multiply_tile<E, 4, 2>(d, depth, a, b, b_row, y);
    if (y.rows <= 4) return;
    a.data += 4 * int64_t(a.row);
    y.data += 4 * y.row;
    y.rows -= 4;
    multiply_tile<E, 4, 2>(d, depth, a, b, b_row, y);
  }
}

// Columns in panels of two vectors; the last may be one vector, and is padded to whole ones.
template <class D>
struct Panels {
  int64_t columns, vector, count;
  Panels(D d, int64_t columns_) : columns(columns_), vector(lanes(d)), count(ceil_div(columns_, 2 * lanes(d))) {}
  int64_t begin(int64_t p) const { return p * 2 * vector; }
  int64_t used(int64_t p) const { return std::min(2 * vector, columns - begin(p)); }
  int64_t width(int64_t p) const { return ceil_div(used(p), vector) * vector; }
  int64_t padded_columns() const { return ceil_div(columns, vector) * vector; }
};

// to (rows, width) = the `used` columns of from, widened, then zeros.
template <class D, class X>
void copy_rows(D d, const X* from, int64_t from_row, int64_t rows, int64_t used, int64_t width, float* to) {
  for (int64_t i = 0; i < rows; ++i, from += from_row, to += width)
    for (int64_t j = 0; j < width; j += lanes(d))
      store(j + lanes(d) <= used ? load(d, from + j) : load(d, from + j, std::max<int64_t>(0, used - j)), d, to + j);
}

// to (rows, width) = the transpose of from (used, rows), widened, then zeros.
template <class D, class X>
void copy_transposed(D, const X* from, int64_t from_row, int64_t rows, int64_t used, int64_t width, float* to) {
  const hn::CappedTag<float, 4> d;
  const hn::RepartitionToWide<decltype(d)> pairs;
  const auto interleave = [=](auto a, auto b, auto& low, auto& high) HWY_ATTR {
    low = hn::BitCast(pairs, hn::InterleaveLower(d, a, b));
    high = hn::BitCast(pairs, hn::InterleaveUpper(d, a, b));
  };
  const int64_t whole_rows = rows / 4 * 4, whole = used / 4 * 4;
  for (int64_t j = 0; j < whole; j += 4)
    for (int64_t i = 0; i < whole_rows; i += 4) {
      const X* block = from + j * from_row + i;
      hn::Vec<decltype(pairs)> low, high, low2, high2;
      interleave(load(d, block), load(d, block + from_row), low, high);
      interleave(load(d, block + 2 * from_row), load(d, block + 3 * from_row), low2, high2);
      float* target = to + i * width + j;
      store(hn::BitCast(d, hn::InterleaveLower(pairs, low, low2)), d, target);
      store(hn::BitCast(d, hn::InterleaveUpper(pairs, low, low2)), d, target + width);
      store(hn::BitCast(d, hn::InterleaveLower(pairs, high, high2)), d, target + 2 * width);
      store(hn::BitCast(d, hn::InterleaveUpper(pairs, high, high2)), d, target + 3 * width);
    }
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = i < whole_rows ? whole : 0; j < used; ++j) to[i * width + j] = float(from[j * from_row + i]);
    std::fill_n(to + i * width + used, width - used, 0.0f);
  }
}

// op(b) (depth, columns) as panels, one after the other; rows of b are b_row apart.
template <class D, class X>
Scratch<float> pack_panels(D d, const Panels<D>& panels, const X* b, int64_t b_row, int64_t depth, bool transpose_b) {
  Scratch<float> packed(depth * panels.padded_columns());
  for (int64_t p = 0; p < panels.count; ++p) {
    const int64_t begin = panels.begin(p);
    float* to = packed.data() + begin * depth;
    if (transpose_b)
      copy_transposed(d, b + begin * b_row, b_row, depth, panels.used(p), panels.width(p), to);
    else
      copy_rows(d, b + begin, b_row, depth, panels.used(p), panels.width(p), to);
  }
  return packed;
}

constexpr int dot_columns = 8;

// y (Rows, columns ≤ 8) = [y +] the dot products of Rows rows of a with 8 rows of b, b_row apart and padded with zeros.
template <class E, int Rows, class X, class Y>
HWY_INLINE void dot_tile(int64_t depth, const X* a, int64_t a_row, const float* b, int64_t b_row, Target<Y> y) {
  const hn::ScalableTag<float> d;
  hn::Vec<decltype(d)> sum[Rows][dot_columns / 4][4];
#pragma GCC unroll 3
  for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < dot_columns; ++j) sum[i][j / 4][j % 4] = hn::Zero(d);
  for_each_vector(d, depth, [&](int64_t k, auto... count) HWY_ATTR {
    hn::Vec<decltype(d)> va[Rows];
#pragma GCC unroll 3
    for (int i = 0; i < Rows; ++i) va[i] = load(d, a + i * a_row + k, count...);
#pragma GCC unroll 8
    for (int j = 0; j < dot_columns; ++j) {
      const auto vb = hn::LoadU(d, b + j * b_row + k);
#pragma GCC unroll 3
      for (int i = 0; i < Rows; ++i) add_product(d, va[i], vb, sum[i][j / 4][j % 4], E{});
    }
  });
  const hn::CappedTag<float, 4> d4;
#pragma GCC unroll 3
  for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 2
    for (int j = 0; j < dot_columns; j += 4) {
      const int64_t left = std::min<int64_t>(4, y.columns - j);
      if (left <= 0) break;
      const auto total = sums_of_lanes(d, sum[i][j / 4]);
      Y* to = y.data + i * y.row + j;
      store(y.accumulate ? hn::Add(total, load(d4, to, left)) : total, d4, to, left);
    }
}

// The right factor op(b) (depth, columns) of y = a·op(b), packed for the tiles that suit it: up to 8 columns go by dot
// products along the depth, for which both factors are read in whole vectors; of bf16, by the processor's own tiles, or
// where a is of bf16 too, in pairs. X: what a holds.
template <class X>
class RowFactor {
  using D = hn::ScalableTag<float>;

 public:
  RowFactor() = default;
  template <class B>
  RowFactor(const B* b, int64_t depth, int64_t columns, bool transpose_b) : depth_(depth), columns_(columns) {
    if constexpr (std::is_same_v<B, bf16_t> && !std::is_same_v<X, f16_t>)
      if ((in_tiles_ = in_bf16_tiles<B>())) {
        tiled_ = TileFactor(b, depth, columns, transpose_b);
        return;
      }
    if constexpr (may_have_bf16_pairs && std::is_same_v<X, bf16_t> && std::is_same_v<B, bf16_t>)
      if ((in_pairs_ = depth % 2 == 0 && multiplies_bf16_pairs())) {
        depth_ /= 2;
        pack_pairs(b, transpose_b);
        return;
      }
    pack(b, transpose_b ? depth : columns, transpose_b);
  }

  // y (rows, columns) = [y +] a·op(b), a (rows, depth). `room` (8, depth) is scratch.
  template <class Y>
  void multiply(const X* a, int64_t rows, Y* y, bool accumulate, float* room) const {
    if constexpr (!std::is_same_v<X, f16_t>)
      if (in_tiles_) return tiled_.multiply(a, rows, y, accumulate);
    if constexpr (may_have_bf16_pairs && std::is_same_v<X, bf16_t>)
      if (in_pairs_) return multiply_as<Bf16Pair>(reinterpret_cast<const float*>(a), rows, y, accumulate, room);
    multiply_as<float>(a, rows, y, accumulate, room);
  }

 private:
  void pack_pairs(const bf16_t* b, bool transpose_b) {
    if (transpose_b) return pack(reinterpret_cast<const float*>(b), depth_, true);
    const int64_t width = next_multiple(columns_, columns_of_tile);
    pairs_ = Scratch<float>(depth_ * width);
    pair_matrix(b, columns_, 2 * depth_, columns_, depth_, width, pairs_.data());
    pack(static_cast<const float*>(pairs_.data()), width, false);
  }

  // Elements of b: factors, or pairs by their bits.
  template <class B>
  void pack(const B* b, int64_t b_row, bool transpose_b) {
    const D d;
    if constexpr (std::is_same_v<B, float>)
      if (are_read_in_place(b_row, transpose_b)) {
        rows_ = b;
        row_ = b_row;
        return;
      }
    if (columns_ > dot_columns) {
      packed_ = pack_panels(d, Panels<D>(d, columns_), b, b_row, depth_, transpose_b);
      return;
    }
    row_ = ceil_div(depth_, lanes(d)) * lanes(d);
    packed_ = Scratch<float>(dot_columns * row_);  // op(b)ᵀ
    if (transpose_b)
      copy_rows(d, b, b_row, columns_, depth_, row_, packed_.data());
    else
      copy_transposed(d, b, b_row, columns_, depth_, row_, packed_.data());
    std::fill_n(packed_.data() + columns_ * row_, (dot_columns - columns_) * row_, 0.0f);
    rows_ = packed_.data();
  }

  // Whether tiles find b's rows as they need them: one thread makes the copies, for which few tokens wait.
  bool are_read_in_place(int64_t b_row, bool transpose_b) const {
    const int64_t vector = lanes(D());
    if (columns_ > dot_columns) return !transpose_b && b_row % vector == 0;
    return transpose_b && columns_ == dot_columns && depth_ % vector == 0;
  }

  // Panel p, and the distance of its rows.
  std::pair<const float*, int64_t> panel(const Panels<D>& panels, int64_t p) const {
    if (rows_) return {rows_ + panels.begin(p), row_};
    return {packed_.data() + panels.begin(p) * depth_, panels.width(p)};
  }

  template <class E, class A, class Y>
  void multiply_as(const A* a, int64_t rows, Y* y, bool accumulate, float* room) const {
    if (columns_ > dot_columns) return multiply_panels<E>(a, rows, y, accumulate, room);
    constexpr int64_t together = many_registers ? 3 : 1;
    int64_t i = 0;
    for (; i + together <= rows; i += together) dots<E, together>(a + i * depth_, y + i * columns_, accumulate);
    for (; i < rows; ++i) dots<E, 1>(a + i * depth_, y + i * columns_, accumulate);
  }

  template <class E, int Rows, class A, class Y>
  HWY_INLINE void dots(const A* a, Y* y, bool accumulate) const {
    dot_tile<E, Rows>(depth_, a, depth_, rows_, row_, Target<Y>{y, columns_, Rows, columns_, accumulate});
  }

  template <class E, class A, class Y>
  void multiply_panels(const A* a, int64_t rows, Y* y, bool accumulate, float* room) const {
    const D d;
    const Panels<D> panels(d, columns_);
    for (int64_t first = 0; first < rows; first += tile_rows) {
      const int64_t count = std::min(tile_rows, rows - first);
      Left<int64_t> left{room, depth_, 1};
      if constexpr (std::is_same_v<A, float>)
        if (count == tile_rows) left.data = a + first * depth_;
      if (left.data == room) {
        map(
            d, count * depth_, [](auto v) HWY_ATTR { return v; }, room, a + first * depth_);
        std::fill_n(room + count * depth_, (tile_rows - count) * depth_, 0.0f);
      }
      for (int64_t p = 0; p < panels.count; ++p) {
        const auto [b, b_row] = panel(panels, p);
        multiply_panel<E>(
            d, depth_, left, b, b_row,
            Target<Y>{y + first * columns_ + panels.begin(p), columns_, count, panels.used(p), accumulate});
      }
    }
  }

  int64_t depth_ = 0, columns_ = 0;  // depth in elements
  Scratch<float> pairs_, packed_;
  const float* rows_ = nullptr;  // of b or packed_, row_ apart; null: packed_ holds panels one after the other
  int64_t row_ = 0;
  bool in_tiles_ = false, in_pairs_ = false;
  TileFactor tiled_;
};

}  // namespace mora::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
