// Products of rows in groups, a tile of the result a block. What is added to rows of several groups is computed by the
// block that owns those rows, group after group.
#include "kernels/cuda/grouped.h"

#include "kernels/cuda/arrays.h"
#include "kernels/cuda/index_errors.h"
#include "kernels/cuda/tile_product.h"

namespace mora::kernels::cuda {
namespace {

constexpr int side = 64;   // rows of a tile of the result
constexpr int depth = 32;  // of a step of a product
constexpr int R = side / square_side;

struct Groups {
  int count;
  int32_t offsets[most_groups + 1];
};

// A matrix of rows of `columns` elements side by side.
template <class T>
struct Rows {
  Array<T> elements;
  int columns;
  bool packed;  // packs of 4 elements can be read
};

// The row of x of each row of h; −1 for one out of range, which is remembered.
struct RowsOfX {
  Array<const int32_t> rows;
  int64_t n;  // rows of x
  IndexErrors errors;

  SIMT_DEVICE int operator[](int s) const {
    const int32_t row = rows[s];
    if (row >= 0 && row < n) return row;
    errors.remember(IndexKind::row, row, n);
    return -1;
  }
};

// Columns first … first + Columns − 1 of `Count` rows; place(i) is the i-th row's number, negative where there is none.
// What is not there is zero.
template <int Count, int Columns, class T, class Place>
SIMT_DEVICE void load_tile(const Rows<const T>& from, Place place, int first, const Tile<T>& to) {
  constexpr int packs = Columns / 4;
  for (int n = simt::thread_index(); n < Count * packs; n += square_threads) {
    const int i = n / packs, column = n % packs * 4;
    const int64_t row = place(i), at = row * from.columns + first + column;
    Pack<T, 4> pack{};
    if (row >= 0 && from.packed) {
      if (first + column < from.columns) pack = from.elements.template pack<4>(at);
    } else if (row >= 0) {
      for (int l = 0; l < 4; ++l)
        if (first + column + l < from.columns) pack.values[l] = from.elements[at + l];
    }
    to.set_pack(i, column, pack);
  }
}

// h = x[rows]·Wᵀ. S: columns of h that a thread holds. blocks: (tiles of rows of all groups, tiles of r).
template <class T, int S>
struct GatherProducts {
  using C = Compute<T>;
  static constexpr int threads = square_threads, width = S * square_side;
  static constexpr int shared_bytes = tile_bytes<T>(side, depth) + tile_bytes<T>(width, depth);
  Rows<const T> x, w;
  Rows<T> h;
  RowsOfX rows;
  Groups groups;

  // Each group has a whole number of tiles.
  static int tiles(const Groups& groups) {
    int sum = 0;
    for (int e = 0; e < groups.count; ++e) sum += (groups.offsets[e + 1] - groups.offsets[e] + side - 1) / side;
    return sum;
  }

  SIMT_DEVICE void operator()() const {
    int e = 0, tile = simt::block_index().x;
    for (;; ++e) {
      const int here = (groups.offsets[e + 1] - groups.offsets[e] + side - 1) / side;
      if (tile < here) break;
      tile -= here;
    }
    const int first = groups.offsets[e] + tile * side, end = groups.offsets[e + 1];
    const int r = h.columns, column = simt::block_index().y * width;
    const auto left = tile_at<T>(0, side, depth), right = tile_at<T>(tile_bytes<T>(side, depth), width, depth);
    C sum[R][S] = {};
    for (int k = 0; k < x.columns; k += depth) {
      load_tile<side, depth>(
          x, [&](int i) { return first + i < end ? rows[first + i] : -1; }, k, left);
      load_tile<width, depth>(
          w, [&](int i) { return column + i < r ? int64_t{e} * r + column + i : int64_t{-1}; }, k, right);
      simt::barrier();
      add_rows_by_rows(left, right, depth, sum);
      simt::barrier();
    }
    for (int i = 0; i < R; ++i)
      for (int j = 0; j < S; ++j) {
        const int s = first + square_row() * R + i, c = column + square_column() + square_side * j;
        if (s < end && c < r) h.elements[int64_t{s} * r + c] = narrow<T>(sum[i][j]);
      }
  }
};

// x[rows] += h·W. A block owns `side` rows of x and as many columns: it looks for its rows in each group, and adds
// their products in the order of h. blocks: (tiles of d, tiles of n).
template <class T>
struct ScatterProducts {
  using C = Compute<T>;
  static constexpr int threads = square_threads, warps = threads / simt::warp_size;
  static constexpr int h_bytes = tile_bytes<T>(side, depth), w_bytes = tile_bytes<T>(depth, side);
  static constexpr int sum_bytes = tile_bytes<C>(side, side);
  static constexpr int shared_bytes = h_bytes + w_bytes + 2 * sum_bytes + (threads + warps) * int(sizeof(int));
  Rows<const T> h, w;
  Rows<T> x;
  RowsOfX rows;
  int n, r;
  Groups groups;

  SIMT_DEVICE void operator()() const {
    const int column = simt::block_index().x * side, first_row = simt::block_index().y * side;
    for (int i = simt::thread_index(); i < side * side; i += threads) sums().set(i / side, i % side, 0);
    for (int e = 0; e < groups.count; ++e) {
      for (int begin = groups.offsets[e]; begin < groups.offsets[e + 1]; begin += threads) {
        const int found = find(first_row, begin, groups.offsets[e + 1]);
        for (int k = 0; k < found; k += side)
          add_products(e, k, found - k < side ? found - k : side, first_row, column);
      }
    }
    simt::barrier();
    for (int i = simt::thread_index(); i < side * side; i += threads) {
      const int row = first_row + i / side, c = column + i % side;
      if (row < n && c < x.columns)
        x.elements[int64_t{row} * x.columns + c] = narrow<T>(sums().get(i / side, i % side));
    }
  }

 private:
  SIMT_DEVICE Tile<T> left() const { return tile_at<T>(0, side, depth); }
  SIMT_DEVICE Tile<T> right() const { return tile_at<T>(h_bytes, depth, side); }
  SIMT_DEVICE Tile<C> sums() const { return tile_at<C>(h_bytes + w_bytes, side, side); }
  SIMT_DEVICE Tile<C> products() const { return tile_at<C>(h_bytes + w_bytes + sum_bytes, side, side); }
  // Rows of h, and how many each warp found.
  SIMT_DEVICE simt::Shared<int> list() const {
    return simt::dynamic_shared<int>(h_bytes + w_bytes + 2 * sum_bytes, threads);
  }
  SIMT_DEVICE simt::Shared<int> counts() const {
    return simt::dynamic_shared<int>(h_bytes + w_bytes + 2 * sum_bytes + threads * int(sizeof(int)), warps);
  }

  // Lists which of the next rows of h, up to `end`, go to rows of this block; how many there are.
  SIMT_DEVICE int find(int first_row, int begin, int end) const {
    const int s = begin + simt::thread_index();
    const int row = s < end ? rows[s] : -1;
    const bool ours = row >= first_row && row < first_row + side;
    const uint32_t bits = simt::ballot(ours);
    simt::barrier();  // the last list has been read
    if (simt::lane() == 0) counts()[simt::warp()] = simt::count_bits(bits);
    simt::barrier();
    int before = 0, all = 0;
    for (int i = 0; i < warps; ++i) {
      if (i < simt::warp()) before += counts()[i];
      all += counts()[i];
    }
    if (ours) list()[before + simt::count_bits(bits & ((1u << simt::lane()) - 1))] = s;
    simt::barrier();
    return all;
  }

  // Rows k … k + count − 1 of the list.
  SIMT_DEVICE void add_products(int e, int k, int count, int first_row, int column) const {
    C sum[R][R] = {};
    for (int j = 0; j < r; j += depth) {
      load_tile<side, depth>(
          h, [&](int i) { return i < count ? int(list()[k + i]) : -1; }, j, left());
      load_tile<depth, side>(
          w, [&](int i) { return j + i < r ? int64_t{e} * r + j + i : int64_t{-1}; }, column, right());
      simt::barrier();
      add_rows_by_columns(left(), right(), depth, sum);
      simt::barrier();
    }
    for (int i = 0; i < R; ++i)
      for (int j = 0; j < R; ++j) products().set(square_row() * R + i, packed_column<R>(j), sum[i][j]);
    simt::barrier();
    // Threads own columns, so that a row that is there twice is added to in order.
    for (int i = 0; i < count; ++i) {
      const int row = rows[list()[k + i]] - first_row;
      if (row % (threads / side) != simt::thread_index() / side) continue;
      const int c = simt::thread_index() % side;
      sums().set(row, c, sums().get(row, c) + products().get(i, c));
    }
  }
};

// W = hᵀ·x[rows]. S as in GatherProducts, of W's rows. blocks: (tiles of d, tiles of r, groups).
template <class T>
struct OuterProducts {
  using C = Compute<T>;
  static constexpr int threads = square_threads;
  static constexpr int shared_bytes = 2 * tile_bytes<T>(depth, side);
  Rows<const T> h, x;
  Rows<T> w;
  RowsOfX rows;
  Groups groups;

  SIMT_DEVICE void operator()() const {
    const auto [tile_x, tile_y, e] = simt::block_index();
    const int column = tile_x * side, j = tile_y * side, r = h.columns;
    const auto left = tile_at<T>(0, depth, side), right = tile_at<T>(tile_bytes<T>(depth, side), depth, side);
    const int end = groups.offsets[e + 1];
    C sum[R][R] = {};
    for (int s = groups.offsets[e]; s < end; s += depth) {
      load_tile<depth, side>(
          h, [&](int i) { return s + i < end ? s + i : -1; }, j, left);
      load_tile<depth, side>(
          x, [&](int i) { return s + i < end ? rows[s + i] : -1; }, column, right);
      simt::barrier();
      add_columns_by_columns(left, right, depth, sum);
      simt::barrier();
    }
    for (int i = 0; i < R; ++i)
      for (int l = 0; l < R; ++l) {
        const int row = j + square_row() * R + i, c = column + packed_column<R>(l);
        if (row < r && c < w.columns) w.elements[(int64_t{e} * r + row) * w.columns + c] = narrow<T>(sum[i][l]);
      }
  }
};

template <class T>
Rows<T> matrix(const View& view, int columns) {
  return {elements<T>(view), columns, moves_in_packs(view) && columns % 4 == 0};
}
Groups groups_of(const GroupedView& view) {
  Groups groups{view.groups, {}};
  std::copy_n(view.offsets, view.groups + 1, groups.offsets);
  return groups;
}
RowsOfX rows_of_x(const GroupedView& view) {
  return {elements<const int32_t>(view.rows), view.n, index_errors(view.index_errors)};
}
int tiles(int count, int size) { return (count + size - 1) / size; }

}  // namespace

void launch_gather_products(const GroupedView& view) {
  visit_floating(view.x.dtype, [&](auto t) {
    using T = decltype(t);
    const Groups groups = groups_of(view);
    const auto launch = [&]<int S>() {
      using Kernel = GatherProducts<T, S>;
      simt::launch({Kernel::tiles(groups), tiles(view.r, Kernel::width)},
                   Kernel{matrix<const T>(view.x, view.d), matrix<const T>(view.w, view.d), matrix<T>(view.h, view.r),
                          rows_of_x(view), groups},
                   Kernel::shared_bytes);
    };
    view.r <= square_side ? launch.template operator()<1>() : launch.template operator()<4>();
  });
}

void launch_scatter_products(const GroupedView& view) {
  visit_floating(view.x.dtype, [&](auto t) {
    using T = decltype(t);
    using Kernel = ScatterProducts<T>;
    simt::launch({tiles(view.d, side), tiles(view.n, side)},
                 Kernel{matrix<const T>(view.h, view.r), matrix<const T>(view.w, view.d), matrix<T>(view.x, view.d),
                        rows_of_x(view), view.n, view.r, groups_of(view)},
                 Kernel::shared_bytes);
  });
}

void launch_outer_products(const GroupedView& view) {
  visit_floating(view.x.dtype, [&](auto t) {
    using T = decltype(t);
    using Kernel = OuterProducts<T>;
    simt::launch({tiles(view.d, side), tiles(view.r, side), view.groups},
                 Kernel{matrix<const T>(view.h, view.r), matrix<const T>(view.x, view.d), matrix<T>(view.w, view.d),
                        rows_of_x(view), groups_of(view)},
                 Kernel::shared_bytes);
  });
}

}  // namespace mora::kernels::cuda
