// Products with a narrow side in the processor's tiles of bf16 (kernels/cpu/bf16_tiles.h): both factors are bf16, or
// the left one is f32 and split into two, v = high + low, which keeps 16 bits of it. Included after
// kernels/cpu/foreach_target.h, once for each instruction set.
#if defined(MORA_KERNELS_CPU_TILE_FACTOR_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MORA_KERNELS_CPU_TILE_FACTOR_H_
#undef MORA_KERNELS_CPU_TILE_FACTOR_H_
#else
#define MORA_KERNELS_CPU_TILE_FACTOR_H_
#endif

#include <algorithm>
#include <type_traits>

#include "kernels/cpu/bf16_tiles.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/simd.h"
#include "kernels/matmul.h"

HWY_BEFORE_NAMESPACE();
namespace mora::kernels::cpu::HWY_NAMESPACE {

constexpr int64_t tiled_block = 128;  // rows that take much longer than to set up the tiles

// Whether products of T with a narrow side go by tiles.
template <class T>
bool in_bf16_tiles() {
  if constexpr (std::is_same_v<T, bf16_t> && HWY_TARGET == HWY_AVX3)
    return has_bf16_tiles() && bf16_products() == Bf16Products::native;
  else
    return false;
}

// y = [y +] x over n elements.
template <class Y>
HWY_INLINE void put(const float* x, int64_t n, bool accumulate, Y* y) {
  const hn::ScalableTag<float> d;
  if (accumulate)
    map(
        d, n, [](auto u, auto v) HWY_ATTR { return hn::Add(u, v); }, y, static_cast<const Y*>(y), x);
  else
    map(
        d, n, [](auto v) HWY_ATTR { return v; }, y, x);
}

// out (pairs, width) of 4-byte elements = `rows` rows of n ≤ width factors, `stride` apart, as pairs of neighbours,
// then zeros; width a multiple of 16.
HWY_INLINE void pair_matrix(const bf16_t* from, int64_t stride, int64_t rows, int64_t n, int64_t pairs, int64_t width,
                            void* out) {
  auto* to = static_cast<uint32_t*>(out);
  const int64_t there = (rows + 1) / 2, filled = next_multiple(n, columns_of_tile);
  for (int64_t p = 0; p < there; ++p) {
    const bf16_t* row = from + 2 * p * stride;
    pair_rows(row, 2 * p + 1 < rows ? row + stride : nullptr, n, to + p * width);
    std::fill_n(to + p * width + filled, width - filled, 0u);
  }
  std::fill_n(to + there * width, (pairs - there) * width, 0u);
}

// high + low = the `used` elements of from, then zeros; both `width` long, a multiple of 16. Whether low is 0.
HWY_INLINE bool split(const float* from, int64_t used, int64_t width, bf16_t* high, bf16_t* low) {
  const hn::ScalableTag<float> d;
  const hn::Rebind<uint16_t, decltype(d)> bits;
  bool exact = true;
  for (int64_t k = 0; k < width; k += lanes(d)) {
    const auto v = k + lanes(d) <= used ? load(d, from + k) : load(d, from + k, std::max<int64_t>(0, used - k));
    const auto upper = narrow<bf16_t>(d, v);
    const auto rest = hn::Sub(v, widen<bf16_t>(d, upper));
    exact &= hn::AllTrue(d, hn::Eq(rest, hn::Zero(d)));
    hn::StoreU(upper, bits, reinterpret_cast<uint16_t*>(high + k));
    hn::StoreU(narrow<bf16_t>(d, rest), bits, reinterpret_cast<uint16_t*>(low + k));
  }
  return exact;
}

// A left factor, or two whose sum it is.
struct TileSides {
  TileRows a, rest;
};

// The right factor op(b) (depth, columns) of y = a·op(b), in pairs. Depth that is at most half a tile's is there twice:
// [high | low] fits into a tile then.
class TileFactor {
 public:
  TileFactor() = default;
  TileFactor(const bf16_t* b, int64_t depth, int64_t columns, bool transpose_b)
      : depth_(depth),
        columns_(columns),
        depth_width_(next_multiple(depth, factors_of_tile)),
        width_(next_multiple(columns, columns_of_tile)),
        pairs_(depth_width_ / 2 * width_) {
    const int64_t times = is_twice() ? 2 : 1, each = depth_width_ / times;
    if (!transpose_b) {
      for (int64_t i = 0; i < times; ++i)
        pair_matrix(b, columns, depth, columns, each / 2, width_, pairs_.data() + i * each / 2 * width_);
      return;
    }
    const Scratch<bf16_t> rows(width_ * depth_width_);
    std::fill_n(rows.data(), width_ * depth_width_, bf16_t{});
    for (int64_t j = 0; j < columns; ++j)
      for (int64_t i = 0; i < times; ++i) std::copy_n(b + j * depth, depth, rows.data() + j * depth_width_ + i * each);
    transpose_elements({rows.data(), depth_width_ / 2}, {pairs_.data(), width_}, depth_width_ / 2, width_);
  }

  // y (rows, columns) = [y +] a·op(b), a (rows, depth).
  template <class X, class Y>
  void multiply(const X* a, int64_t rows, Y* y, bool accumulate) const {
    constexpr int64_t most_columns = 128;  // of a block of sums in the first cache
    const Scratch<float> sums(rows_of_tiles * std::min(most_columns, width_));
    const Scratch<bf16_t> room(2 * rows_of_tiles * depth_width_);
    const Bf16Tiles tiles(true);
    for (int64_t first = 0; first < rows; first += rows_of_tiles) {
      const int64_t count = std::min(rows_of_tiles, rows - first);
      const TileSides left = sides(a + first * depth_, count, room.data());
      for (int64_t column = 0; column < width_; column += most_columns) {
        const int64_t width = std::min(most_columns, width_ - column);
        multiply_tiles(left.a, {pairs_.data() + column, width_}, {sums.data(), width}, count, width, depth_width_ / 2,
                       false, left.rest);
        for (int64_t i = 0; i < count; ++i)
          put(sums.data() + i * width, std::min(width, columns_ - column), accumulate,
              y + (first + i) * columns_ + column);
      }
    }
  }

 private:
  bool is_twice() const { return depth_ <= factors_of_tile / 2; }

  // `count` ≤ 32 rows as they lie, where whole tiles do, or else copied to `room` (32, depth).
  TileSides sides(const bf16_t* a, int64_t count, bf16_t* room) const {
    if (depth_ == depth_width_ && tiled_rows(count) == count) return {{const_cast<bf16_t*>(a), depth_ / 2}, {}};
    for (int64_t i = 0; i < count; ++i) {
      bf16_t* row = room + i * depth_width_;
      std::copy_n(a + i * depth_, depth_, row);
      std::fill_n(row + depth_, depth_width_ - depth_, bf16_t{});
    }
    return {{room, depth_width_ / 2}, {}};
  }
  // The same, split; `room` is for twice as much.
  TileSides sides(const float* a, int64_t count, bf16_t* room) const {
    bf16_t* low = is_twice() ? room + factors_of_tile / 2 : room + rows_of_tiles * depth_width_;
    for (int64_t i = 0; i < count; ++i) {
      const int64_t row = i * depth_width_;
      split(a + i * depth_, depth_, is_twice() ? factors_of_tile / 2 : depth_width_, room + row, low + row);
    }
    return {{room, depth_width_ / 2}, {is_twice() ? nullptr : low, depth_width_ / 2}};
  }

  int64_t depth_ = 0, columns_ = 0, depth_width_ = 0, width_ = 0;
  Scratch<uint32_t> pairs_;  // (depth / 2, columns)
};

constexpr int64_t columns_of_panel = 32;

// Sums (m, n) of outer products: a panel of 32 columns after the other.
struct TileSums {
  int64_t m, n;
  int64_t rows = tiled_rows(m);

  int64_t size() const { return rows * next_multiple(n, columns_of_panel); }
  int64_t panel_size() const { return rows * columns_of_panel; }

  // Panels [first, last) of sum = [sum +] leftᵀ·right over `count` rows, left (count, m) with rows left_row apart.
  HWY_INLINE void add(int64_t first, int64_t last, int64_t count, const float* left, int64_t left_row,
                      const bf16_t* right, bool accumulate, float* sum) const {
    const int64_t pairs = next_multiple(count, factors_of_tile) / 2;
    const Scratch<uint32_t> turned(2 * rows * pairs), block(pairs * columns_of_panel);
    const TileSides a = transposed(count, left, left_row, pairs, turned.data());
    const Bf16Tiles tiles(true);
    for (int64_t p = first; p < last; ++p) {
      const int64_t column = p * columns_of_panel;
      pair_matrix(right + column, n, count, std::min(columns_of_panel, n - column), pairs, columns_of_panel,
                  block.data());
      multiply_tiles(a.a, {block.data(), columns_of_panel}, {sum + p * panel_size(), columns_of_panel}, rows,
                     columns_of_panel, pairs, accumulate, a.rest);
    }
  }

 private:
  // leftᵀ (rows, 2·pairs), split.
  HWY_INLINE TileSides transposed(int64_t count, const float* left, int64_t left_row, int64_t pairs,
                                  uint32_t* to) const {
    const Scratch<bf16_t> halves(2 * count * rows);
    const Scratch<uint32_t> paired(pairs * rows);
    bool exact = true;
    for (int64_t i = 0; i < count; ++i)
      exact &= split(left + i * left_row, m, rows, halves.data() + i * rows, halves.data() + (count + i) * rows);
    for (int64_t half = 0; half < (exact ? 1 : 2); ++half) {
      pair_matrix(halves.data() + half * count * rows, rows, count, rows, pairs, rows, paired.data());
      transpose_elements({paired.data(), rows}, {to + half * rows * pairs, pairs}, rows, pairs);
    }
    return {{to, pairs}, {exact ? nullptr : to + rows * pairs, pairs}};
  }
};

}  // namespace mora::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
