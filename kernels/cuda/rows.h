// Rows of any length, read and written 16 bytes a thread. A pass after the first finds the row in the cache.
#pragma once

#include "kernels/cuda/reduction.h"

namespace mora::kernels::cuda {

template <int N>
using Width = std::integral_constant<int, N>;

// Elements i … i + N − 1 in the type of the arithmetic.
template <int N, class T>
SIMT_DEVICE void read(const Array<const T>& from, int64_t i, Compute<T> (&to)[N]) {
  const Pack<T, N> pack = from.template pack<N>(i);
  for (int k = 0; k < N; ++k) to[k] = widen(pack.values[k]);
}
template <int N, class T>
SIMT_DEVICE void write(const Array<T>& to, int64_t i, const Compute<T> (&from)[N]) {
  Pack<T, N> pack;
  for (int k = 0; k < N; ++k) pack.values[k] = narrow<T>(from[k]);
  to.template set_pack<N>(i, pack);
}

// Calls f(i, Width<N>) so that elements i … i + N − 1 over all calls, of all threads of a team of `size`, are begin …
// begin + length − 1, each once and by the same thread each time. `packed`: the arrays that f touches start where 16
// bytes can be moved at once; then N is pack_width<T>, and i a multiple of it, but at the row's two ends.
template <class T, int size, class F>
SIMT_DEVICE void for_each_of_row(int64_t begin, int64_t length, bool packed, F f) {
  constexpr int width = pack_width<T>;
  int64_t head = packed ? (width - begin % width) % width : length;
  if (head > length) head = length;
  const int rank = Team<size>::rank();
  for (int64_t i = rank; i < head; i += size) f(begin + i, Width<1>{});
  const int64_t body = (length - head) / width * width;
  for (int64_t i = rank * width; i < body; i += size * width) f(begin + head + i, Width<width>{});
  for (int64_t i = head + body + rank; i < length; i += size) f(begin + i, Width<1>{});
}

// An absent view, whose address is 0, is no hindrance.
template <class... Views>
bool all_packed(const Views&... views) {
  return (moves_in_packs(views) && ...);
}

// The threads of a block that works on rows, and the longest rows that a warp takes alone.
inline constexpr int row_threads = 256;
inline constexpr int64_t longest_row_of_warp = 1024;

// Launches make(Width<n>) for the number n of threads that suits rows of `length`.
template <class F>
void launch_rows(int64_t rows, int64_t length, F make) {
  if (length <= longest_row_of_warp)
    simt::launch(simt::blocks_for(rows, row_threads / simt::warp_size), make(Width<simt::warp_size>{}));
  else
    simt::launch(simt::blocks_for(rows, 1), make(Width<row_threads>{}));
}

}  // namespace mora::kernels::cuda
