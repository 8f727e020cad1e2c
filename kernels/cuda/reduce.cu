// Reductions of one pass (outer, reduced, inner) → (outer, chunks, inner), along rows where inner = 1 and along columns
// else. What a block adds, and in which order, depends on the shape alone. A maximum over a NaN is NaN.
#include "kernels/cuda/reduce.h"

#include "kernels/cuda/arrays.h"

namespace mora::kernels::cuda {
namespace {

struct SumOf {
  template <class C>
  static SIMT_DEVICE C identity() {
    return 0;
  }
  template <class C>
  static SIMT_DEVICE C of(C x) {
    return x;
  }
  template <class C>
  static SIMT_DEVICE C combined(C a, C b) {
    return a + b;
  }
};
struct SumOfSquares : SumOf {
  template <class C>
  static SIMT_DEVICE C of(C x) {
    return x * x;
  }
};
struct MaximumOf {
  template <class C>
  static SIMT_DEVICE C identity() {
    return C(-HUGE_VAL);
  }
  template <class C>
  static SIMT_DEVICE C of(C x) {
    return x;
  }
  template <class C>
  static SIMT_DEVICE C combined(C a, C b) {
    return a > b || a != a ? a : b;
  }
};

// A block a chunk of a row. Y: what T is computed in.
template <class T, class Y, class F>
struct ReduceRows {
  static constexpr int threads = 256, warps = threads / simt::warp_size, width = pack_width<T>;
  Array<const T> x;
  Array<Y> y;
  ReduceShape shape;  // inner = 1
  int64_t chunks;
  bool packed;  // every chunk starts where a pack may

  SIMT_DEVICE void operator()() const {
    for (int64_t i = simt::block_index().x; i < y.size; i += simt::grid_size().x) {
      const int64_t first = i % chunks * shape.chunk, left = shape.reduced - first;
      const int64_t begin = i / chunks * shape.reduced + first, length = left < shape.chunk ? left : shape.chunk;
      const Y value = block_combined(packed ? of_thread<width>(begin, length) : of_thread<1>(begin, length));
      if (simt::thread_index() == 0) y[i] = value;
    }
  }

  // This thread's share of `length` elements from `begin`: packs of N, in N chains of their own, then what is left.
  template <int N>
  SIMT_DEVICE Y of_thread(int64_t begin, int64_t length) const {
    Y chain[N];
    for (int k = 0; k < N; ++k) chain[k] = F::template identity<Y>();
    for (int64_t i = int64_t{simt::thread_index()} * N; i + N <= length; i += threads * N) {
      const Pack<T, N> pack = x.template pack<N>(begin + i);
      for (int k = 0; k < N; ++k) chain[k] = F::combined(chain[k], F::of(Y(widen(pack.values[k]))));
    }
    for (int64_t i = length / N * N + simt::thread_index(); i < length; i += threads)
      chain[0] = F::combined(chain[0], F::of(Y(widen(x[begin + i]))));
    for (int k = 1; k < N; ++k) chain[0] = F::combined(chain[0], chain[k]);
    return chain[0];
  }

  static SIMT_DEVICE Y block_combined(Y value) {
    const auto parts = simt::shared<Y, warps, ReduceRows>();
    for (int mask = simt::warp_size / 2; mask > 0; mask /= 2)
      value = F::combined(value, simt::shuffle_xor(value, mask));
    if (simt::lane() == 0) parts[simt::warp()] = value;
    simt::barrier();
    value = parts[0];
    for (int w = 1; w < warps; ++w) value = F::combined(value, Y(parts[w]));
    simt::barrier();  // the next chunk writes the parts again
    return value;
  }
};

// A block a chunk of rows and a panel of columns: each warp goes down every eighth row of the chunk.
template <class T, class F>
struct ReduceColumns {
  static constexpr int threads = 256, warps = threads / simt::warp_size, width = pack_width<T>;
  using C = Compute<T>;
  Array<const T> x;
  Array<C> y;
  ReduceShape shape;
  int64_t chunks, panels;
  bool packed;  // rows are made of whole, aligned packs

  SIMT_DEVICE void operator()() const {
    for (int64_t i = simt::block_index().x; i < shape.outer * chunks * panels; i += simt::grid_size().x) {
      if (packed)
        reduce<width>(i / panels, i % panels);
      else
        reduce<1>(i / panels, i % panels);
    }
  }

  // Chunk `chunk` of all outer ones; N columns a lane.
  template <int N>
  SIMT_DEVICE void reduce(int64_t chunk, int64_t panel) const {
    const int64_t column = (panel * simt::warp_size + simt::lane()) * N;
    const int64_t first = chunk % chunks * shape.chunk, left = shape.reduced - first;
    const int64_t begin = chunk / chunks * shape.reduced + first, rows = left < shape.chunk ? left : shape.chunk;
    C value[N];
    for (int k = 0; k < N; ++k) value[k] = F::template identity<C>();
    for (int64_t r = simt::warp(); r < rows && column < shape.inner; r += warps) {
      const Pack<T, N> pack = x.template pack<N>((begin + r) * shape.inner + column);
      for (int k = 0; k < N; ++k) value[k] = F::combined(value[k], C(widen(pack.values[k])));
    }
    const auto parts = simt::shared<C, threads * N, ReduceColumns>();
    for (int k = 0; k < N; ++k) parts[k * threads + simt::thread_index()] = value[k];
    simt::barrier();
    if (simt::warp() == 0 && column < shape.inner) {
      for (int k = 0; k < N; ++k) {
        for (int w = 1; w < warps; ++w)
          value[k] = F::combined(value[k], C(parts[k * threads + w * simt::warp_size + simt::lane()]));
        y[chunk * shape.inner + column + k] = value[k];
      }
    }
    simt::barrier();
  }
};

// y[n] = the first index of row n's maximum, or of its first NaN.
template <class T>
struct Argmax {
  static constexpr int threads = 256, warps = threads / simt::warp_size;
  using C = Compute<T>;
  Array<const T> x;
  Array<int32_t> y;
  int64_t columns;

  struct Best {
    C value;
    int32_t index;
  };
  static SIMT_DEVICE Best better(const Best& a, const Best& b) {
    const bool a_is_nan = a.value != a.value, b_is_nan = b.value != b.value;
    if (a_is_nan != b_is_nan) return a_is_nan ? a : b;
    if (a.value == b.value || a_is_nan) return a.index < b.index ? a : b;
    return a.value > b.value ? a : b;
  }

  SIMT_DEVICE void operator()() const {
    const auto values = simt::shared<C, warps, Argmax>();
    const auto indices = simt::shared<int32_t, warps, Argmax>();
    for (int64_t n = simt::block_index().x; n < y.size; n += simt::grid_size().x) {
      Best best{C(-HUGE_VAL), INT32_MAX};
      for (int64_t c = simt::thread_index(); c < columns; c += threads)
        best = better(best, {widen(x[n * columns + c]), int32_t(c)});
      for (int mask = simt::warp_size / 2; mask > 0; mask /= 2)
        best = better(best, {simt::shuffle_xor(best.value, mask), simt::shuffle_xor(best.index, mask)});
      if (simt::lane() == 0) {
        values[simt::warp()] = best.value;
        indices[simt::warp()] = best.index;
      }
      simt::barrier();
      if (simt::thread_index() == 0) {
        for (int w = 1; w < warps; ++w) best = better(best, {values[w], indices[w]});
        y[n] = best.index;
      }
      simt::barrier();
    }
  }
};

template <class T, class Y, class F>
void launch_rows(const View& x, const View& y, const ReduceShape& shape) {
  using Kernel = ReduceRows<T, Y, F>;
  const bool packed = moves_in_packs(x) && shape.reduced % Kernel::width == 0 && shape.chunk % Kernel::width == 0;
  simt::launch(simt::blocks_for(y.size, 1),
               Kernel{elements<const T>(x), elements<Y>(y), shape, shape.chunks(), packed});
}

template <class T, class F>
void launch_columns(const View& x, const View& y, const ReduceShape& shape) {
  using Kernel = ReduceColumns<T, F>;
  const bool packed = moves_in_packs(x) && shape.inner % Kernel::width == 0;
  const int64_t columns = simt::warp_size * (packed ? Kernel::width : 1);
  const int64_t panels = (shape.inner + columns - 1) / columns;
  simt::launch(simt::blocks_for(shape.outer * shape.chunks() * panels, 1),
               Kernel{elements<const T>(x), elements<Compute<T>>(y), shape, shape.chunks(), panels, packed});
}

template <class T, class F>
void launch_pass(const View& x, const View& y, const ReduceShape& shape) {
  if (shape.inner == 1)
    launch_rows<T, Compute<T>, F>(x, y, shape);
  else
    launch_columns<T, F>(x, y, shape);
}

}  // namespace

void launch_reduce(View x, View y, const ReduceShape& shape, Reduce f) {
  visit_floating(x.dtype, [&](auto t) {
    using T = decltype(t);
    if (f == Reduce::sum)
      launch_pass<T, SumOf>(x, y, shape);
    else
      launch_pass<T, MaximumOf>(x, y, shape);
  });
}

void launch_sum_of_squares(View x, View y, int64_t chunk) {
  visit_floating(x.dtype, [&](auto t) { launch_rows<decltype(t), double, SumOfSquares>(x, y, {1, x.size, 1, chunk}); });
}

void launch_argmax(View x, View y, int64_t columns) {
  visit_floating(x.dtype, [&](auto t) {
    using T = decltype(t);
    simt::launch(simt::blocks_for(y.size, 1), Argmax<T>{elements<const T>(x), elements<int32_t>(y), columns});
  });
}

}  // namespace mora::kernels::cuda
