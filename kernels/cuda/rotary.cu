// Rotary position embedding, half-split layout: the pair (x_j, x_{j+D/2}) turned by the angle of its position. A thread
// turns as many pairs as 16 bytes hold of either half.
#include "kernels/cuda/rotary.h"

#include "kernels/cuda/index_errors.h"
#include "kernels/cuda/rows.h"

namespace mora::kernels::cuda {
namespace {

template <class T, int width>
struct Rotary {
  static constexpr int threads = 256;
  using C = Compute<T>;
  Array<const T> x;
  Array<const int32_t> positions;
  Array<const C> cos, sin;
  Array<T> y;
  int64_t heads, half, stride_of_row, stride_of_head, table_rows;
  C sign;
  IndexErrors errors;

  SIMT_DEVICE void operator()() const {
    const int64_t packs = half / width, total = positions.size * heads * packs;
    for (int64_t i = simt::global_index(); i < total; i += simt::global_size()) {
      const int64_t head = i / packs, j = i % packs * width;
      turn(head / heads, head % heads, j);
    }
  }

  SIMT_DEVICE void turn(int64_t row, int64_t head, int64_t j) const {
    const int32_t position = positions[row];
    const bool valid = position >= 0 && position < table_rows;
    if (!valid && head == 0 && j == 0) errors.remember(IndexKind::position, position, table_rows);
    const int64_t from = row * stride_of_row + head * stride_of_head + j;
    const int64_t to = (row * heads + head) * 2 * half + j;
    C a[width], b[width], c[width] = {}, s[width] = {};
    read(x, from, a);
    read(x, from + half, b);
    if (valid) {
      read(cos, position * half + j, c);
      read(sin, position * half + j, s);
    }
    for (int k = 0; k < width; ++k) {
      const C first = a[k], second = b[k];
      a[k] = first * c[k] - second * (sign * s[k]);
      b[k] = second * c[k] + first * (sign * s[k]);
    }
    write(y, to, a);
    write(y, to + half, b);
  }
};

template <class T, int width>
void launch(const RotaryView& v) {
  using C = Compute<T>;
  using Kernel = Rotary<T, width>;
  const Kernel kernel{elements<const T>(v.x),
                      elements<const int32_t>(v.positions),
                      elements<const C>(v.cos),
                      elements<const C>(v.sin),
                      elements<T>(v.y),
                      v.heads,
                      v.half,
                      v.stride_of_row,
                      v.stride_of_head,
                      v.table_rows,
                      v.inverse ? C(-1) : C(1),
                      index_errors(v.errors)};
  simt::launch(simt::blocks_for(v.y.size / 2 / width, Kernel::threads), kernel);
}

}  // namespace

void launch_rotary(const RotaryView& v) {
  visit_floating(v.x.dtype, [&](auto t) {
    using T = decltype(t);
    constexpr int width = pack_width<T>;
    const bool whole_packs = v.half % width == 0 && v.stride_of_row % width == 0 && v.stride_of_head % width == 0;
    if (whole_packs && all_packed(v.x, v.cos, v.sin, v.y))
      launch<T, width>(v);
    else
      launch<T, 1>(v);
  });
}

}  // namespace mora::kernels::cuda
