// Rows by index, and their adjoint. An index out of range is remembered; its row is zero, or is added nowhere.
#include "kernels/cuda/copy.h"
#include "kernels/cuda/index_errors.h"
#include "kernels/cuda/number.h"

namespace mora::kernels::cuda {
namespace {

// y[n] = table[ids[n]], a block a row.
template <class X, class Y>
struct GatherRows {
  static constexpr int threads = 256;
  static constexpr int width = 16 / std::max(sizeof(X), sizeof(Y));
  Array<const X> table;
  Array<const int32_t> ids;
  Array<Y> y;
  int64_t columns, rows;  // of the table
  bool packed;
  IndexErrors errors;

  SIMT_DEVICE void operator()() const {
    for (int64_t n = simt::block_index().x; n < ids.size; n += simt::grid_size().x) {
      const int32_t id = ids[n];
      const bool valid = id >= 0 && id < rows;
      if (!valid && simt::thread_index() == 0) errors.remember(IndexKind::row, id, rows);
      if (packed)
        copy_row<width>(valid, id * columns, n * columns);
      else
        copy_row<1>(valid, id * columns, n * columns);
    }
  }

  template <int N>
  SIMT_DEVICE void copy_row(bool valid, int64_t from, int64_t to) const {
    for (int64_t c = int64_t{simt::thread_index()} * N; c < columns; c += threads * N) {
      Pack<Y, N> out{};
      if (valid) {
        const Pack<X, N> in = table.template pack<N>(from + c);
        for (int k = 0; k < N; ++k) out.values[k] = converted<Y>(in.values[k]);
      }
      y.template set_pack<N>(to + c, out);
    }
  }
};

// y[ids[n]] += x[n]. The first n of an id does the work of all of them, in their order, so that each row of y is one
// sum in f32 (f64), rounded once: every block reads through all ids, which are few beside the rows they name.
template <class X, class Y>
struct ScatterAddRows {
  static constexpr int threads = 256;
  static constexpr int warps = threads / simt::warp_size;
  using C = std::conditional_t<std::is_same_v<X, double> || std::is_same_v<Y, double>, double, float>;
  Array<const X> x;
  Array<const int32_t> ids;
  Array<Y> y;
  int64_t columns, rows;  // of y
  IndexErrors errors;

  SIMT_DEVICE void operator()() const {
    const int64_t slices = (columns + threads - 1) / threads;
    for (int64_t i = simt::block_index().x; i < ids.size * slices; i += simt::grid_size().x) {
      const int64_t n = i / slices;
      const int32_t id = ids[n];
      if (id >= 0 && id < rows)
        add(n, id, i % slices * threads + simt::thread_index());
      else if (simt::thread_index() == 0)
        errors.remember(IndexKind::row, id, rows);
    }
  }

  // Column `column` of y[id], if n is the first of its id.
  SIMT_DEVICE void add(int64_t n, int32_t id, int64_t column) const {
    const auto same = simt::shared<uint32_t, warps, ScatterAddRows>();  // a bit a thread: its id is this one
    C sum = 0;
    for (int64_t first = 0; first < ids.size; first += threads) {
      const int64_t mine = first + simt::thread_index();
      const uint32_t found = simt::ballot(mine < ids.size && ids[mine] == id);
      simt::barrier();  // the bits of the ids before have been read
      if (simt::lane() == 0) same[simt::warp()] = found;
      simt::barrier();
      for (int w = 0; w < warps; ++w) {
        const int64_t base = first + w * simt::warp_size;
        for (uint32_t bits = same[w]; bits != 0; bits &= bits - 1) {
          const int64_t m = base + simt::count_bits((bits & (~bits + 1)) - 1);
          if (m < n) return leave();  // all threads do
          if (column >= columns) continue;
          if (m == n) sum = C(widen(y[id * columns + column]));
          sum += C(widen(x[m * columns + column]));
        }
      }
    }
    if (column < columns) y[id * columns + column] = converted<Y>(sum);
    leave();
  }

  // Nobody writes the bits again before everybody has read them.
  static SIMT_DEVICE void leave() { simt::barrier(); }
};

template <class F>
void visit_floating_pair(DType x, DType y, F&& f) {
  visit_floating(x, [&](auto from) { visit_floating(y, [&](auto to) { f(from, to); }); });
}

}  // namespace

void launch_gather_rows(View table, View ids, View y, int64_t columns, View index_errors) {
  if (y.size == 0) return;
  visit_floating_pair(table.dtype, y.dtype, [&](auto from, auto to) {
    using X = decltype(from);
    using Y = decltype(to);
    using Kernel = GatherRows<X, Y>;
    const bool packed = columns % Kernel::width == 0 && moves_in_packs(table) && moves_in_packs(y);
    simt::launch(simt::blocks_for(ids.size, 1),
                 Kernel{elements<const X>(table), elements<const int32_t>(ids), elements<Y>(y), columns,
                        table.size / columns, packed, cuda::index_errors(index_errors)});
  });
}

void launch_scatter_add_rows(View x, View ids, View y, int64_t columns, View index_errors) {
  if (x.size == 0) return;
  visit_floating_pair(x.dtype, y.dtype, [&](auto from, auto to) {
    using X = decltype(from);
    using Y = decltype(to);
    using Kernel = ScatterAddRows<X, Y>;
    const int64_t slices = (columns + Kernel::threads - 1) / Kernel::threads;
    simt::launch(simt::blocks_for(ids.size * slices, 1),
                 Kernel{elements<const X>(x), elements<const int32_t>(ids), elements<Y>(y), columns, y.size / columns,
                        cuda::index_errors(index_errors)});
  });
}

}  // namespace mora::kernels::cuda
