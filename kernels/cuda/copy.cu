// Copies between any strides and dtypes, and filling.
#include "kernels/cuda/copy.h"

#include "kernels/cuda/number.h"
#include "kernels/cuda/walk.h"

namespace mora::kernels::cuda {
namespace {

using Sixteen = Pack<uint64_t, 2>;

// f(U{}) for the unsigned integer of `bytes`, or for Sixteen.
template <class F>
void visit_bytes(size_t bytes, F&& f) {
  switch (bytes) {
    case 1: return f(uint8_t{});
    case 2: return f(uint16_t{});
    case 4: return f(uint32_t{});
    case 8: return f(uint64_t{});
    default: return f(Sixteen{});
  }
}

// y_i = x_i along any strides; T: anything of the elements' size.
template <class T>
struct StridedCopy {
  static constexpr int threads = 256;
  Array<const T> x;
  Array<T> y;
  WalkView<2> walk;

  SIMT_DEVICE void operator()() const {
    for (int64_t i = simt::global_index(); i < walk.size; i += simt::global_size()) {
      const Offsets<2> offsets = offsets_of(walk, i);
      y[offsets.at[1]] = x[offsets.at[0]];
    }
  }
};

// Where both innermost rows are dense, elements move in the largest groups that fit all of their starts and ends.
size_t group_bytes(const View& x, const View& y, const WalkView<2>& walk, size_t size) {
  const int inner = walk.rank - 1;
  if (walk.strides[0][inner] != 1 || walk.strides[1][inner] != 1) return size;
  uint64_t all = reinterpret_cast<uintptr_t>(x.data) | reinterpret_cast<uintptr_t>(y.data) | 16;
  all |= uint64_t(walk.shape[inner]) * size;
  for (int d = 0; d < inner; ++d) all |= uint64_t(walk.strides[0][d]) * size | uint64_t(walk.strides[1][d]) * size;
  return size_t(all & (~all + 1));  // the largest power of two that divides them
}

// A tile of 32×32 goes through shared memory, so that both sides are read and written along their rows.
template <class T>
struct Transpose {
  static constexpr int threads = 256, tile = 32;
  Array<const T> x;
  Array<T> y;
  Transposed shape;

  SIMT_DEVICE void operator()() const {
    const auto held = simt::shared<T, tile*(tile + 1), Transpose>();  // one more, so that columns are in all banks
    const int across = simt::lane(), along = simt::warp();
    const int64_t bands = (shape.rows + tile - 1) / tile, panels = (shape.columns + tile - 1) / tile;
    for (int64_t t = simt::block_index().x; t < bands * panels * shape.count; t += simt::grid_size().x) {
      const int64_t matrix = t / (bands * panels);
      const int64_t row = t / panels % bands * tile, column = t % panels * tile;
      for (int k = along; k < tile; k += threads / tile)
        if (row + across < shape.rows && column + k < shape.columns)
          held[k * (tile + 1) + across] = x[matrix * shape.x_matrix + row + across + (column + k) * shape.stride];
      simt::barrier();
      for (int k = along; k < tile; k += threads / tile)
        if (row + k < shape.rows && column + across < shape.columns)
          y[matrix * shape.y_matrix + (row + k) * shape.columns + column + across] = held[across * (tile + 1) + k];
      simt::barrier();
    }
  }
};

template <class X, class Y>
struct Convert {
  static constexpr int threads = 256;
  static constexpr int width = 16 / std::max(sizeof(X), sizeof(Y));
  Array<const X> x;
  Array<Y> y;
  int64_t packs;  // that begin the arrays where both are dense
  WalkView<2> walk;

  SIMT_DEVICE void operator()() const {
    for (int64_t i = simt::global_index(); i < packs; i += simt::global_size()) {
      const Pack<X, width> from = x.template pack<width>(i * width);
      Pack<Y, width> to;
      for (int k = 0; k < width; ++k) to.values[k] = converted<Y>(from.values[k]);
      y.template set_pack<width>(i * width, to);
    }
    for (int64_t i = packs * width + simt::global_index(); i < walk.size; i += simt::global_size()) {
      const Offsets<2> offsets = offsets_of(walk, i);
      y[offsets.at[1]] = converted<Y>(x[offsets.at[0]]);
    }
  }
};

template <class X, class Y>
void launch_convert_between(const View& x, const View& y, const WalkView<2>& walk) {
  using Kernel = Convert<X, Y>;
  const bool dense = walk.rank == 1 && walk.strides[0][0] == 1 && walk.strides[1][0] == 1;
  const int64_t packs = dense && moves_in_packs(x) && moves_in_packs(y) ? walk.size / Kernel::width : 0;
  simt::launch(simt::blocks_for(walk.size, Kernel::threads * (packs > 0 ? Kernel::width : 1)),
               Kernel{elements<const X>(x), elements<Y>(y), packs, walk});
}

template <class T>
struct Fill {
  static constexpr int threads = 256;
  Array<T> y;
  int64_t packs;
  T value;

  SIMT_DEVICE void operator()() const {
    constexpr int width = pack_width<T>;
    Pack<T, width> pack;
    for (int k = 0; k < width; ++k) pack.values[k] = value;
    for (int64_t i = simt::global_index(); i < packs; i += simt::global_size())
      y.template set_pack<width>(i * width, pack);
    for (int64_t i = packs * width + simt::global_index(); i < y.size; i += simt::global_size()) y[i] = value;
  }
};

}  // namespace

void launch_copy(View x, View y, const WalkView<2>& walk) {
  const size_t size = size_of(y.dtype), group = group_bytes(x, y, walk, size);
  const auto elements_in_group = int64_t(group / size);
  WalkView<2> groups = walk;
  const int inner = walk.rank - 1;
  groups.shape[inner] /= elements_in_group;
  groups.size /= elements_in_group;
  for (int d = 0; d < inner; ++d)
    for (int k = 0; k < 2; ++k) groups.strides[k][d] /= elements_in_group;
  visit_bytes(group, [&](auto bits) {
    using T = decltype(bits);
    using Kernel = StridedCopy<T>;
    simt::launch(simt::blocks_for(groups.size, Kernel::threads),
                 Kernel{{static_cast<const T*>(x.data), x.size / elements_in_group},
                        {static_cast<T*>(y.data), y.size / elements_in_group},
                        groups});
  });
}

void launch_transpose(View x, View y, const Transposed& shape) {
  const int64_t tiles = ((shape.rows + 31) / 32) * ((shape.columns + 31) / 32) * shape.count;
  visit_bytes(size_of(y.dtype), [&](auto bits) {
    using T = decltype(bits);
    if constexpr (!std::is_same_v<T, Sixteen>)
      simt::launch(simt::blocks_for(tiles, 1), Transpose<T>{elements<const T>(x), elements<T>(y), shape});
  });
}

void launch_convert(View x, View y, const WalkView<2>& walk) {
  visit_dtype(x.dtype, [&](auto from) {
    visit_dtype(y.dtype, [&](auto to) {
      using X = decltype(from);
      using Y = decltype(to);
      if constexpr (!std::is_same_v<X, Y>) launch_convert_between<X, Y>(x, y, walk);
    });
  });
}

void launch_fill(View y, uint64_t bits) {
  visit_bytes(size_of(y.dtype), [&](auto unsigned_integer) {
    using T = decltype(unsigned_integer);
    if constexpr (!std::is_same_v<T, Sixteen>) {
      const int64_t packs = moves_in_packs(y) ? y.size / pack_width<T> : 0;
      simt::launch(simt::blocks_for(y.size, Fill<T>::threads * pack_width<T>), Fill<T>{elements<T>(y), packs, T(bits)});
    }
  });
}

}  // namespace mora::kernels::cuda
