// C = A·B or C += A·B on small row-major blocks that lie in the processor's first caches: what attention's inner loops
// are made of. Tiles of C, up to 6 rows by 4 vectors (2 where a set has 16 registers), stay in registers over the whole
// depth. Included after kernels/cpu/simd.h, once for each instruction set.
//
// A and B hold elements E: float or double, or pairs of bf16 factors (kernels/cpu/bf16_pairs.h). Depth is counted in
// factors wherever a caller names it.
//
// Where the processor has tiles for pairs of bf16 (kernels/cpu/bf16_tiles.h), `Products` takes those.
//
// Columns come in whole vectors: B and C are padded, and start at cache lines. `padded_stride` keeps rows an odd number
// of cache lines apart, so that a column of vectors spreads over all sets of a cache.
#if defined(MORA_KERNELS_CPU_BLOCK_PRODUCT_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MORA_KERNELS_CPU_BLOCK_PRODUCT_H_
#undef MORA_KERNELS_CPU_BLOCK_PRODUCT_H_
#else
#define MORA_KERNELS_CPU_BLOCK_PRODUCT_H_
#endif

#include <algorithm>
#include <array>
#include <utility>

#include "kernels/cpu/attention_plan.h"
#include "kernels/cpu/bf16_pairs.h"
#include "kernels/cpu/bf16_tiles.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace mora::kernels::cpu::HWY_NAMESPACE {

inline constexpr int tile_rows = 6;
inline constexpr int tile_vectors = HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_NEON ? 4 : 2;

template <class T>
int64_t padded(int64_t n) {
  const int64_t step = lanes(hn::ScalableTag<T>());
  return (n + step - 1) / step * step;
}

template <class T>
int64_t padded_stride(int64_t n) {
  constexpr int64_t line = 64 / sizeof(T);
  return ((n + line - 1) / line | 1) * line;
}

// Of an element: what its products are summed in, its factors, and how many of them there are.
template <class E>
struct Element {
  using Sum = E;
  using Factor = E;
  static constexpr int64_t factors = 1;
};
template <>
struct Element<Bf16Pair> {
  using Sum = float;
  using Factor = bf16_t;
  static constexpr int64_t factors = 2;
};
template <class E>
using SumOf = typename Element<E>::Sum;

// The elements that hold the given factors.
template <class E>
Range elements(Range factors) {
  constexpr int64_t each = Element<E>::factors;
  return {factors.begin / each, (factors.end + each - 1) / each};
}
template <class E>
int64_t elements(int64_t factors) {
  return elements<E>(Range{0, factors}).end;
}

// Rows that are the depth of a product go on with zeros to this many: pairs, to whole tiles. A and C have `tiled_rows`.
template <class E>
int64_t padded_depth(int64_t factors) {
  constexpr int64_t unit = Element<E>::factors == 1 ? 1 : factors_of_tile;
  return next_multiple(factors, unit);
}

// The factors of a row of elements.
template <class E>
typename Element<E>::Factor* factors_of(E* row) {
  return reinterpret_cast<typename Element<E>::Factor*>(row);
}

template <class T>
struct Block {
  T* data;
  int64_t stride;  // of rows
  T* row(int64_t i) const { return data + i * stride; }
};

// Element (i, k) is data[i·row + k·column]: a block, or a block's transpose.
template <class T>
struct Operand {
  const T* data;
  int64_t row, column;
};
template <class T>
Operand<T> as_is(Block<T> a) {
  return {a.data, a.stride, 1};
}
template <class T>
Operand<T> transposed(Block<T> a) {
  return {a.data, 1, a.stride};
}

// c (ROWS, VECTORS vectors) = [c +] Σ_k a(·, k)·b(k, ·)
template <int ROWS, int VECTORS, class E>
void multiply_tile(Operand<E> a, Block<E> b, Block<SumOf<E>> c, int64_t depth, bool accumulate) {
  using T = SumOf<E>;
  const hn::ScalableTag<T> d;
  const int64_t step = lanes(d);
  hn::Vec<decltype(d)> sum[ROWS][VECTORS];
#pragma GCC unroll 8
  for (int i = 0; i < ROWS; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < VECTORS; ++j) sum[i][j] = accumulate ? hn::Load(d, c.row(i) + j * step) : hn::Zero(d);
  }
  const T* pa = reinterpret_cast<const T*>(a.data);
  const T* pb = reinterpret_cast<const T*>(b.data);
  for (int64_t k = 0; k < depth; ++k, pa += a.column, pb += b.stride) {
    hn::Vec<decltype(d)> vb[VECTORS];
#pragma GCC unroll 4
    for (int j = 0; j < VECTORS; ++j) vb[j] = hn::Load(d, pb + j * step);
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; ++i) {
      const auto va = hn::Set(d, pa[i * a.row]);
#pragma GCC unroll 4
      for (int j = 0; j < VECTORS; ++j) add_product(d, va, vb[j], sum[i][j], E{});
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < ROWS; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < VECTORS; ++j) hn::Store(sum[i][j], d, c.row(i) + j * step);
  }
}

template <class E>
using MultiplyTile = void (*)(Operand<E>, Block<E>, Block<SumOf<E>>, int64_t, bool);

// The function for a tile of the given size.
template <class E>
MultiplyTile<E> tile_function(int64_t rows, int64_t vectors) {
  static constexpr auto table = []<int... I>(std::integer_sequence<int, I...>) {
    return std::array<MultiplyTile<E>, sizeof...(I)>{&multiply_tile<I / tile_vectors + 1, I % tile_vectors + 1, E>...};
  }
  (std::make_integer_sequence<int, tile_rows * tile_vectors>());
  return table[size_t((rows - 1) * tile_vectors + vectors - 1)];
}

// The part of a product that a run of C's rows needs.
struct Extent {
  Range columns;  // of C; widened to whole vectors
  Range depth;
};

// Rows [0, m) of C = [C +] A·B, a tile of rows at a time; extent(rows) says how much of each tile to compute.
template <class E, class ExtentOf>
void multiply(int64_t m, Operand<E> a, Block<E> b, Block<SumOf<E>> c, bool accumulate, ExtentOf extent) {
  const int64_t step = lanes(hn::ScalableTag<SumOf<E>>());
  const int64_t tiles = (m + tile_rows - 1) / tile_rows;
  for (int64_t tile = 0; tile < tiles; ++tile) {
    const Range rows{m * tile / tiles, m * (tile + 1) / tiles};
    const Extent e = extent(rows);
    const Range depth = elements<E>(e.depth);
    if (depth.empty()) continue;
    const Operand<E> tile_a{a.data + rows.begin * a.row + depth.begin * a.column, a.row, a.column};
    for (int64_t column = e.columns.begin / step * step; column < e.columns.end; column += tile_vectors * step) {
      const int64_t vectors = std::min<int64_t>(tile_vectors, (e.columns.end - column + step - 1) / step);
      tile_function<E>(rows.size(), vectors)(tile_a, {b.row(depth.begin) + column, b.stride},
                                             {c.row(rows.begin) + column, c.stride}, depth.size(), accumulate);
    }
  }
}

// How one thread multiplies blocks whose depth is at most `most_depth` factors, or `dim`: by tiles of the processor
// where it has them and whole ones lie in `dim`.
template <class E>
class Products {
 public:
  explicit Products(int64_t dim, int64_t most_depth)
      : in_tiles_(std::is_same_v<E, Bf16Pair> && dim % factors_of_tile == 0 && has_bf16_tiles()), tiles_(in_tiles_) {
    if (in_tiles_) room_ = Scratch<float>(rows_of_tiles * elements<E>(padded_depth<E>(most_depth)));
  }

  // As `multiply`. Depth that is not `dim` is padded with zeros.
  template <class ExtentOf>
  void operator()(int64_t m, Operand<E> a, Block<E> b, Block<SumOf<E>> c, bool accumulate, ExtentOf extent) const {
    if (!in_tiles_) return multiply(m, a, b, c, accumulate, extent);
    for (int64_t begin = 0; begin < m; begin += rows_of_tiles) {
      const Range rows{begin, std::min(m, begin + rows_of_tiles)};
      const Extent e = extent(rows);
      const Range depth{e.depth.begin / factors_of_tile * factors_of_tile / 2, padded_depth<E>(e.depth.end) / 2};
      if (e.depth.empty() || e.columns.empty()) continue;
      const int64_t column = e.columns.begin / columns_of_tile * columns_of_tile;
      multiply_tiles(rows_of(a, rows, depth), {b.row(depth.begin) + column, b.stride},
                     {c.row(begin) + column, c.stride}, rows.size(), e.columns.end - column, depth.size(), accumulate);
    }
  }

 private:
  // Those rows of A with neighbours in depth side by side.
  TileRows rows_of(Operand<E> a, Range rows, Range depth) const {
    auto* first = const_cast<E*>(a.data + rows.begin * a.row + depth.begin * a.column);
    if (a.column == 1) return {first, a.row};
    transpose_elements({first, a.column}, {room_.data(), depth.size()}, rows.size(), depth.size());
    return {room_.data(), depth.size()};
  }

  bool in_tiles_;
  Bf16Tiles tiles_;
  Scratch<float> room_;
};

}  // namespace mora::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
