// Sums of outer products with a narrow side, aᵀ·b over many rows: the gradients of adapters' factors. Included after
// kernels/cpu/foreach_target.h, once for each instruction set.
#if defined(MORA_KERNELS_CPU_OUTER_SUMS_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MORA_KERNELS_CPU_OUTER_SUMS_H_
#undef MORA_KERNELS_CPU_OUTER_SUMS_H_
#else
#define MORA_KERNELS_CPU_OUTER_SUMS_H_
#endif

#include "kernels/cpu/narrow_tile.h"

HWY_BEFORE_NAMESPACE();
namespace mora::kernels::cpu::HWY_NAMESPACE {

// Rows that are added up at a time: their pages stay in the TLB from one panel to the next.
constexpr int64_t outer_block = 48;

// Parts of the rows that are summed apart, at most `most` where that is a power of two: by the shape alone, so that a
// result does not depend on the threads. Two as soon as each has a block, more while each keeps two.
HWY_INLINE int64_t parts_of(int64_t rows, int64_t most) {
  int64_t parts = most > 1 && rows >= 2 * outer_block ? 2 : 1;
  while (parts < most && rows >= 2 * parts * 2 * outer_block) parts *= 2;
  return parts;
}

// Rows of the right factor in an array that ends at `end`.
template <class X>
struct Right {
  const X* data;
  const X* end;
};

// The place of a sum (m, n): rows padded to whole tiles, columns to whole vectors; `size` elements. Or, of bf16, that
// of the processor's tiles.
struct OuterSums {
  int64_t m, n;
  bool in_tiles = false;
  TileSums tiled{m, n};
  int64_t block = in_tiles ? tiled_block : outer_block;  // rows that are best added at a time
  Panels<hn::ScalableTag<float>> panels{hn::ScalableTag<float>(), n};
  int64_t row = panels.padded_columns(), tiles = ceil_div(m, tile_rows);
  int64_t size = in_tiles ? tiled.size() : tiles * tile_rows * row;

  // Panels [first, last) of sum = [sum +] leftᵀ·right over `count` rows. left (count, m) is read in whole tiles: what
  // lies beyond m is added to the padding; beside a right of bf16 it holds bf16, widened. right (count, n); `room`
  // (count, 2 vectors) is scratch.
  template <class X>
  void add(int64_t first, int64_t last, int64_t count, Left<UnitRow> left, Right<X> right, float* room, bool accumulate,
           float* sum) const {
    if constexpr (std::is_same_v<X, bf16_t>)
      if (in_tiles) return tiled.add(first, last, count, left.data, left.step, right.data, accumulate, sum);
    if constexpr (may_have_bf16_pairs && std::is_same_v<X, bf16_t>)
      if (multiplies_bf16_pairs())
        return add_pairs<Bf16Pair>(first, last, count, left, right.data, room, accumulate, sum);
    const hn::ScalableTag<float> d;
    for (int64_t p = first; p < last; ++p) {
      const auto [b, b_row] = panel(p, count, right, room);
      for (int64_t t = 0; t < tiles; ++t)
        multiply_panel<float>(
            d, count, Left<UnitRow>{left.data + t * tile_rows, {}, left.step}, b, b_row,
            Target<float>{sum + t * tile_rows * row + panels.begin(p), row, tile_rows, panels.width(p), accumulate});
    }
  }

  // y (m, n), or transposed (n, m), = [y +] panel p of `parts` sums, `stride` apart and added in order: the first holds
  // their sum then.
  template <class Y>
  void write(int64_t p, int64_t parts, int64_t stride, float* sums, bool transposed, bool accumulate, Y* y) const {
    const hn::ScalableTag<float> d;
    const auto plus = [](auto u, auto v) HWY_ATTR { return hn::Add(u, v); };
    const int64_t begin = panels.begin(p), used = panels.used(p), width = in_tiles ? columns_of_panel : panels.width(p);
    float* panel = in_tiles ? sums + p * tiled.panel_size() : sums + begin;
    const int64_t panel_row = in_tiles ? columns_of_panel : row;
    for (int64_t i = 0; i < m; ++i) {
      float* to = panel + i * panel_row;
      for (int64_t part = 1; part < parts; ++part)
        map(d, width, plus, to, static_cast<const float*>(to), static_cast<const float*>(to + part * stride));
      if (!transposed) put(to, used, accumulate, y + i * n + begin);
    }
    if (!transposed) return;
    const Scratch<float> turned(used * m);
    copy_transposed(d, panel, panel_row, used, m, m, turned.data());
    put(turned.data(), used * m, accumulate, y + begin * m);
  }

 private:
  // `add` by pairs E of neighbouring rows.
  template <class E>
  void add_pairs(int64_t first, int64_t last, int64_t count, Left<UnitRow> left, const bf16_t* right, float* room,
                 bool accumulate, float* sum) const {
    const hn::ScalableTag<float> d;
    const int64_t pairs = ceil_div(count, 2), width = next_multiple(m, columns_of_tile);
    const Scratch<bf16_t> narrowed(count * width);
    const Scratch<float> lefts(pairs * width);
    for (int64_t i = 0; i < count; ++i) put(left.data + i * left.step, m, false, narrowed.data() + i * width);
    pair_matrix(narrowed.data(), width, count, m, pairs, width, lefts.data());
    for (int64_t p = first; p < last; ++p) {
      const int64_t panel = panels.width(p);
      pair_matrix(right + panels.begin(p), n, count, panels.used(p), pairs, panel, room);
      for (int64_t t = 0; t < tiles; ++t)
        multiply_panel<E>(
            d, pairs, Left<UnitRow>{lefts.data() + t * tile_rows, {}, width}, room, panel,
            Target<float>{sum + t * tile_rows * row + panels.begin(p), row, tile_rows, panel, accumulate});
    }
  }

  // Panel p of the right factor: as it lies, or copied where it is 16-bit or whole vectors reach beyond its end.
  template <class X>
  std::pair<const float*, int64_t> panel(int64_t p, int64_t count, Right<X> right, float* room) const {
    const X* from = right.data + panels.begin(p);
    if constexpr (std::is_same_v<X, float>)
      if (from + (count - 1) * n + panels.width(p) <= right.end) return {from, n};
    copy_rows(hn::ScalableTag<float>(), from, n, count, panels.used(p), panels.width(p), room);
    return {room, panels.width(p)};
  }
};

}  // namespace mora::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
