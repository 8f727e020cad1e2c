// Tiles of products with a narrow side: up to 8 rows by 2 vectors stay in registers over the depth. Included after
// kernels/cpu/foreach_target.h, once for each instruction set.
#if defined(MORA_KERNELS_CPU_NARROW_TILE_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MORA_KERNELS_CPU_NARROW_TILE_H_
#undef MORA_KERNELS_CPU_NARROW_TILE_H_
#else
#define MORA_KERNELS_CPU_NARROW_TILE_H_
#endif

#include <algorithm>
#include <type_traits>

#include "kernels/cpu/scratch.h"
#include "kernels/cpu/simd.h"

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
template <int Rows, int Vectors, class D, class Row, class Y>
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
      for (int j = 0; j < Vectors; ++j) sum[i][j] = hn::MulAdd(va, vb[j], sum[i][j]);
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
template <class D, class Row, class Y>
HWY_INLINE void multiply_panel(D d, int64_t depth, Left<Row> a, const float* b, int64_t b_row, Target<Y> y) {
  if (y.columns <= lanes(d)) {
    multiply_tile<8, 1>(d, depth, a, b, b_row, y);
  } else if constexpr (many_registers) {
    multiply_tile<8, 2>(d, depth, a, b, b_row, y);
  } else {
    multiply_tile<4, 2>(d, depth, a, b, b_row, y);
    if (y.rows <= 4) return;
    a.data += 4 * int64_t(a.row);
    y.data += 4 * y.row;
    y.rows -= 4;
    multiply_tile<4, 2>(d, depth, a, b, b_row, y);
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

// The first `lanes` elements of a column whose rows are `row` apart, widened; zeros after them.
template <class D>
HWY_INLINE hn::Vec<D> load_column(D d, const float* from, int64_t row, int64_t lanes) {
  const hn::RebindToSigned<D> di;
  const auto last = hn::Set(di, int32_t(lanes - 1));  // lanes after it read it again
  const auto index = hn::Mul(hn::Min(hn::Iota(di, 0), last), hn::Set(di, int32_t(row)));
  return hn::IfThenElseZero(hn::FirstN(d, size_t(lanes)), hn::GatherIndex(d, from, index));
}
template <class D, class X>
HWY_INLINE hn::Vec<D> load_column(D d, const X* from, int64_t row, int64_t lanes) {
  HWY_ALIGN float column[hn::MaxLanes(d)] = {};
  for (int64_t l = 0; l < lanes; ++l) column[l] = float(from[l * row]);
  return hn::Load(d, column);
}

// to (rows, width) = the transpose of from (used, rows), widened, then zeros.
template <class D, class X>
void copy_transposed(D d, const X* from, int64_t from_row, int64_t rows, int64_t used, int64_t width, float* to) {
  for (int64_t j = 0; j < width; j += lanes(d)) {
    const int64_t left = std::clamp<int64_t>(used - j, 0, lanes(d));
    for (int64_t i = 0; i < rows; ++i)
      store(left == 0 ? hn::Zero(d) : load_column(d, from + j * from_row + i, from_row, left), d, to + i * width + j);
  }
}

// op(b) (depth, columns) as panels, one after the other.
template <class D, class X>
Scratch<float> pack_panels(D d, const Panels<D>& panels, const X* b, int64_t depth, bool transpose_b) {
  Scratch<float> packed(depth * panels.padded_columns());
  for (int64_t p = 0; p < panels.count; ++p) {
    const int64_t begin = panels.begin(p);
    float* to = packed.data() + begin * depth;
    if (transpose_b)
      copy_transposed(d, b + begin * depth, depth, depth, panels.used(p), panels.width(p), to);
    else
      copy_rows(d, b + begin, panels.columns, depth, panels.used(p), panels.width(p), to);
  }
  return packed;
}

}  // namespace mora::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
