// Products of rows in groups. Tiles of a few rows by a few vectors stay in registers over the depth. What is added to
// rows in several groups is split among threads by columns, in blocks whose slab of all rows stays in the caches.
#include "kernels/grouped.h"

#include <algorithm>

#include "kernels/cpu/elements.h"
#include "kernels/cpu/scratch.h"
#include "kernels/product_checks.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/grouped.cpp"
#include "kernels/cpu/foreach_target.h"
#include "kernels/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace mora::kernels::cpu::HWY_NAMESPACE {
namespace {

constexpr bool many_registers = HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_NEON;  // 32 rather than 16
constexpr int tile_rows = many_registers ? 8 : 4;
constexpr int64_t block_columns = 64;

int64_t ceil_div(int64_t n, int64_t by) { return (n + by - 1) / by; }

// dots[i][j] = a_i·b_j
template <int Rows, int Columns, class T>
HWY_INLINE void dot_tile(const T* const* a, const T* const* b, int64_t depth, Compute<T> (&dots)[Rows][Columns]) {
  const Tag<T> d;
  hn::Vec<Tag<T>> sum[Rows][Columns];
#pragma GCC unroll 4
  for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < Columns; ++j) sum[i][j] = hn::Zero(d);
  for_each_vector(d, depth, [&](int64_t k, auto... n) HWY_ATTR {
    hn::Vec<Tag<T>> va[Rows];
#pragma GCC unroll 4
    for (int i = 0; i < Rows; ++i) va[i] = load(d, a[i] + k, n...);
#pragma GCC unroll 4
    for (int j = 0; j < Columns; ++j) {
      const auto vb = load(d, b[j] + k, n...);
#pragma GCC unroll 4
      for (int i = 0; i < Rows; ++i) sum[i][j] = hn::MulAdd(va[i], vb, sum[i][j]);
    }
  });
#pragma GCC unroll 4
  for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < Columns; ++j) dots[i][j] = hn::GetLane(hn::SumOfLanes(d, sum[i][j]));
}

// Rows [begin, end) of h, all of the group of w (r, d).
template <class T>
void gather_group(const T* x, const T* w, T* h, const int32_t* rows, int64_t begin, int64_t end, int64_t r, int64_t d) {
  constexpr int height = 4, width = many_registers ? 4 : 2;
  Compute<T> dots[height][width];
  const T *left[height], *right[width];
  for (int64_t s = begin; s < end; s += height) {  // what is beyond the end repeats the last and is not written
    for (int i = 0; i < height; ++i) left[i] = x + rows[std::min(s + i, end - 1)] * d;
    for (int64_t j = 0; j < r; j += width) {
      for (int c = 0; c < width; ++c) right[c] = w + std::min(j + c, r - 1) * d;
      dot_tile(left, right, d, dots);
      for (int i = 0; i < height && s + i < end; ++i)
        for (int c = 0; c < width && j + c < r; ++c) h[(s + i) * r + j + c] = T(dots[i][c]);
    }
  }
}

// sum[i][v] = Σ_k left(i, k)·right(k)[v], `Vectors` vectors from `column` on; count: of the only vector's elements.
template <int Vectors, class D, class Left, class Right, class... Count>
HWY_INLINE void multiply_tile(D d, int64_t depth, Left left, Right right, hn::Vec<D> (&sum)[tile_rows][2],
                              Count... count) {
#pragma GCC unroll 8
  for (int i = 0; i < tile_rows; ++i)
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v) sum[i][v] = hn::Zero(d);
  for (int64_t k = 0; k < depth; ++k) {
    hn::Vec<D> vb[Vectors];
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v) vb[v] = load(d, right(k) + v * lanes(d), count...);
#pragma GCC unroll 8
    for (int i = 0; i < tile_rows; ++i) {
      const auto va = hn::Set(d, hn::TFromD<D>(left(i, k)));
#pragma GCC unroll 2
      for (int v = 0; v < Vectors; ++v) sum[i][v] = hn::MulAdd(va, vb[v], sum[i][v]);
    }
  }
}

// `tile(column, vectors, count…)` over columns [0, n): pairs of vectors, then single ones, the last in part.
template <class D, class Tile>
HWY_INLINE void for_each_panel(D d, int64_t n, Tile tile) {
  using One = std::integral_constant<int, 1>;
  using Two = std::integral_constant<int, 2>;
  int64_t c = 0;
  for (; c + 2 * lanes(d) <= n; c += 2 * lanes(d)) tile(c, Two());
  for_each_vector(d, n - c, [&](int64_t i, auto... count) HWY_ATTR { tile(c + i, One(), count...); });
}

// Columns [first, first + columns) of all rows: sums (rows of `row` numbers), which are zero before.
template <class T>
void scatter_block(const T* h, const T* w, Compute<T>* sums, int64_t row, const int32_t* rows,
                   std::span<const int64_t> offsets, int64_t r, int64_t d, int64_t columns) {
  const Tag<T> tag;
  for (size_t e = 0; e + 1 < offsets.size(); ++e, w += r * d) {
    for (int64_t s = offsets[e], end = offsets[e + 1]; s < end; s += tile_rows) {
      const T* left[tile_rows];
      for (int i = 0; i < tile_rows; ++i) left[i] = h + std::min(s + i, end - 1) * r;
      for_each_panel(tag, columns, [&](int64_t c, auto vectors, auto... count) HWY_ATTR {
        hn::Vec<Tag<T>> sum[tile_rows][2];
        multiply_tile<decltype(vectors)::value>(
            tag, r, [&](int i, int64_t k) { return left[i][k]; }, [&](int64_t k) { return w + k * d + c; }, sum,
            count...);
        for (int i = 0; i < tile_rows && s + i < end; ++i) {
          Compute<T>* to = sums + rows[s + i] * row + c;
          for (int v = 0; v < vectors; ++v, to += lanes(tag))
            store(hn::Add(sum[i][v], load(tag, to, count...)), tag, to, count...);
        }
      });
    }
  }
}

// w (r, columns of rows of d) = Σ over rows [begin, end) of h.
template <class T>
void outer_block(const T* h, const T* x, T* w, const int32_t* rows, int64_t begin, int64_t end, int64_t r, int64_t d,
                 int64_t columns) {
  const Tag<T> tag;
  for (int64_t j = 0; j < r; j += tile_rows) {
    int64_t row[tile_rows];
    for (int i = 0; i < tile_rows; ++i) row[i] = std::min(j + i, r - 1);
    for_each_panel(tag, columns, [&](int64_t c, auto vectors, auto... count) HWY_ATTR {
      hn::Vec<Tag<T>> sum[tile_rows][2];
      multiply_tile<decltype(vectors)::value>(
          tag, end - begin, [&](int i, int64_t s) { return h[(begin + s) * r + row[i]]; },
          [&](int64_t s) { return x + rows[begin + s] * d + c; }, sum, count...);
      for (int i = 0; i < tile_rows && j + i < r; ++i)
        for (int v = 0; v < vectors; ++v) store(sum[i][v], tag, w + (j + i) * d + c + v * lanes(tag), count...);
    });
  }
}

void gather_products_target(const Tensor& x, const Tensor& w, Tensor& h, const RowGroups& groups) {
  const int64_t r = w.dim(1), d = w.dim(2);
  const int32_t* rows = groups.rows.data<int32_t>();
  visit_floating(x.dtype(), "gather_products", [&](auto type) HWY_ATTR {
    using T = decltype(type);
    parallel_for(h.dim(0), row_grain(r * d), [&](int64_t begin, int64_t end) HWY_ATTR {
      for (size_t e = 0; e + 1 < groups.offsets.size(); ++e)
        gather_group(x.data<T>(), w.data<T>() + int64_t(e) * r * d, h.mutable_data<T>(), rows,
                     std::max(begin, groups.offsets[e]), std::min(end, groups.offsets[e + 1]), r, d);
    });
  });
}

void scatter_products_target(const Tensor& h, const Tensor& w, Tensor& x, const RowGroups& groups) {
  const int64_t n = x.dim(0), r = w.dim(1), d = w.dim(2);
  visit_floating(x.dtype(), "scatter_products", [&](auto type) HWY_ATTR {
    using T = decltype(type);
    constexpr bool in_place = std::is_same_v<T, Compute<T>>;
    parallel_for(ceil_div(d, block_columns), row_grain(n * block_columns), [&](int64_t begin, int64_t end) HWY_ATTR {
      const Scratch<Compute<T>> scratch(in_place ? 0 : n * block_columns);
      for (int64_t first = begin * block_columns; first < std::min(d, end * block_columns); first += block_columns) {
        const int64_t columns = std::min(block_columns, d - first), row = in_place ? d : block_columns;
        T* to = x.mutable_data<T>() + first;
        Compute<T>* sums = scratch.data();
        if constexpr (in_place) sums = to;
        for (int64_t i = 0; i < n; ++i) std::fill_n(sums + i * row, columns, Compute<T>(0));
        scatter_block(h.data<T>(), w.data<T>() + first, sums, row, groups.rows.data<int32_t>(), groups.offsets, r, d,
                      columns);
        for (int64_t i = 0; i < n && !in_place; ++i)
          map(
              Tag<T>(), columns, [](auto v) HWY_ATTR { return v; }, to + i * d, sums + i * row);
      }
    });
  });
}

void outer_products_target(const Tensor& h, const Tensor& x, Tensor& w, const RowGroups& groups) {
  const int64_t r = w.dim(1), d = w.dim(2), blocks = ceil_div(d, block_columns);
  visit_floating(x.dtype(), "outer_products", [&](auto type) HWY_ATTR {
    using T = decltype(type);
    parallel_for(w.dim(0) * blocks, 1, [&](int64_t begin, int64_t end) HWY_ATTR {
      for (int64_t task = begin; task < end; ++task) {
        const int64_t e = task / blocks, first = task % blocks * block_columns;
        outer_block(h.data<T>(), x.data<T>() + first, w.mutable_data<T>() + e * r * d + first,
                    groups.rows.data<int32_t>(), groups.offsets[size_t(e)], groups.offsets[size_t(e) + 1], r, d,
                    std::min(block_columns, d - first));
      }
    });
  });
}

}  // namespace
}  // namespace mora::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mora::kernels::cpu {
namespace {

HWY_EXPORT(gather_products_target);
HWY_EXPORT(scatter_products_target);
HWY_EXPORT(outer_products_target);

void check(std::string_view op, const Tensor& x, const Tensor& w, const Tensor& h, const RowGroups& groups) {
  check_groups(op, x, w, h, groups);
  for (int32_t row : groups.rows.values<int32_t>())
    require<ShapeError>(row >= 0 && row < x.dim(0), "{}: row {} of {}", op, row, x.dim(0));
}

}  // namespace

void gather_products(const Tensor& x, const Tensor& w, Tensor& h, const RowGroups& groups) {
  check("gather_products", x, w, h, groups);
  HWY_DYNAMIC_DISPATCH(gather_products_target)(x, w, h, groups);
}

void scatter_products(const Tensor& h, const Tensor& w, Tensor& x, const RowGroups& groups) {
  check("scatter_products", x, w, h, groups);
  HWY_DYNAMIC_DISPATCH(scatter_products_target)(h, w, x, groups);
}

void outer_products(const Tensor& h, const Tensor& x, Tensor& w, const RowGroups& groups) {
  check("outer_products", x, w, h, groups);
  HWY_DYNAMIC_DISPATCH(outer_products_target)(h, x, w, groups);
}

}  // namespace mora::kernels::cpu
#endif
