// Means over the rows of each sequence of a packed batch, and their gradients.
#include "kernels/cuda/arrays.h"
#include "kernels/cuda/reduce.h"

namespace mora::kernels::cuda {
namespace {

// A block a segment and a slice of the columns.
template <class T>
struct SegmentMean {
  static constexpr int threads = 128, width = pack_width<T>;
  Array<const T> x;
  Array<const int32_t> offsets;
  Array<T> y;
  int64_t columns, slices;
  bool packed;  // rows are made of whole, aligned packs

  SIMT_DEVICE void operator()() const {
    for (int64_t i = simt::block_index().x; i < (offsets.size - 1) * slices; i += simt::grid_size().x) {
      const int64_t thread = i % slices * threads + simt::thread_index();
      if (packed)
        mean<width>(i / slices, thread * width);
      else
        mean<1>(i / slices, thread);
    }
  }

  template <int N>
  SIMT_DEVICE void mean(int64_t segment, int64_t column) const {
    if (column >= columns) return;
    const int64_t begin = offsets[segment], end = offsets[segment + 1];
    Compute<T> sum[N] = {};
    for (int64_t n = begin; n < end; ++n) {
      const Pack<T, N> row = x.template pack<N>(n * columns + column);
      for (int k = 0; k < N; ++k) sum[k] += widen(row.values[k]);
    }
    const Compute<T> scale = end > begin ? Compute<T>(1) / Compute<T>(end - begin) : 0;
    Pack<T, N> out;
    for (int k = 0; k < N; ++k) out.values[k] = narrow<T>(sum[k] * scale);
    y.template set_pack<N>(segment * columns + column, out);
  }
};

// A block a row.
template <class T>
struct SegmentMeanBackward {
  static constexpr int threads = 128, width = pack_width<T>;
  Array<const T> gy;
  Array<const int32_t> offsets;
  Array<T> gx;
  int64_t columns;
  bool packed;

  SIMT_DEVICE void operator()() const {
    const int64_t rows = gx.size / columns;
    for (int64_t n = simt::block_index().x; n < rows; n += simt::grid_size().x) {
      const int64_t segment = segment_of(n);
      const Compute<T> scale = Compute<T>(1) / Compute<T>(offsets[segment + 1] - offsets[segment]);
      if (packed)
        spread<width>(n, segment, scale);
      else
        spread<1>(n, segment, scale);
    }
  }

  // The last segment that begins at or before row n.
  SIMT_DEVICE int64_t segment_of(int64_t n) const {
    int64_t low = 0, high = offsets.size - 1;  // offsets[low] ≤ n < offsets[high]
    while (high - low > 1) {
      const int64_t middle = (low + high) / 2;
      (offsets[middle] <= n ? low : high) = middle;
    }
    return low;
  }

  template <int N>
  SIMT_DEVICE void spread(int64_t n, int64_t segment, Compute<T> scale) const {
    for (int64_t c = int64_t{simt::thread_index()} * N; c < columns; c += threads * N) {
      Pack<T, N> row = gy.template pack<N>(segment * columns + c);
      for (int k = 0; k < N; ++k) row.values[k] = narrow<T>(widen(row.values[k]) * scale);
      gx.template set_pack<N>(n * columns + c, row);
    }
  }
};

template <class Kernel>
bool rows_of_packs(const View& a, const View& b, int64_t columns) {
  return moves_in_packs(a) && moves_in_packs(b) && columns % Kernel::width == 0;
}

}  // namespace

void launch_segment_mean(View rows, View offsets, View segments, int64_t columns) {
  visit_floating(rows.dtype, [&](auto t) {
    using T = decltype(t);
    using Kernel = SegmentMean<T>;
    const bool packed = rows_of_packs<Kernel>(rows, segments, columns);
    const int64_t of_block = Kernel::threads * (packed ? Kernel::width : 1),
                  slices = (columns + of_block - 1) / of_block;
    simt::launch(simt::blocks_for((offsets.size - 1) * slices, 1),
                 Kernel{elements<const T>(rows), elements<const int32_t>(offsets), elements<T>(segments), columns,
                        slices, packed});
  });
}

void launch_segment_mean_backward(View segments, View offsets, View rows, int64_t columns) {
  visit_floating(rows.dtype, [&](auto t) {
    using T = decltype(t);
    using Kernel = SegmentMeanBackward<T>;
    simt::launch(simt::blocks_for(rows.size / columns, 1),
                 Kernel{elements<const T>(segments), elements<const int32_t>(offsets), elements<T>(rows), columns,
                        rows_of_packs<Kernel>(segments, rows, columns)});
  });
}

}  // namespace mora::kernels::cuda
