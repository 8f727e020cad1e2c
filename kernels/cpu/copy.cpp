// Copies between any strides and dtypes. The dimensions are ordered by y's strides and merged; then, row by row,
//   dense to dense      memcpy, or a vector conversion
//   a transpose         tiles of 32×32 elements, so that each cache line of both sides is used while it is near
//   anything else       pack into a buffer, convert, spread
#include "kernels/copy.h"

#include <algorithm>

#include "kernels/cpu/convert.h"
#include "kernels/cpu/elements.h"
#include "kernels/strided.h"

namespace mora::kernels::cpu {
namespace {

constexpr int64_t piece = 256;  // elements of a buffer
constexpr int64_t tile = 32;    // side of a transposed tile

// f(U{}) for the unsigned integer of an element's size.
template <class F>
void visit_size(DType dtype, F&& f) {
  switch (size_of(dtype)) {
    case 1: return f(uint8_t{});
    case 2: return f(uint16_t{});
    case 4: return f(uint32_t{});
    default: return f(uint64_t{});
  }
}

// to[i·to_stride] = from[i·from_stride], converted.
void copy_row(const std::byte* from, DType from_dtype, int64_t from_stride, std::byte* to, DType to_dtype,
              int64_t to_stride, int64_t n) {
  if (from_stride == 1 && to_stride == 1) return convert(from, from_dtype, to, to_dtype, n);
  alignas(64) std::byte packed[piece * sizeof(double)];
  alignas(64) std::byte converted[piece * sizeof(double)];
  for (int64_t i = 0; i < n; i += piece) {
    const int64_t count = std::min(piece, n - i);
    visit_size(from_dtype, [&](auto bits) {
      using T = decltype(bits);
      pack(reinterpret_cast<const T*>(from) + i * from_stride, from_stride, reinterpret_cast<T*>(packed), count);
    });
    convert(packed, from_dtype, converted, to_dtype, count);
    visit_size(to_dtype, [&](auto bits) {
      using T = decltype(bits);
      for (int64_t j = 0; j < count; ++j)
        reinterpret_cast<T*>(to)[(i + j) * to_stride] = reinterpret_cast<const T*>(converted)[j];
    });
  }
}

// y's innermost stride is 1 and x's is not, but another dimension of x is dense: which one, or −1.
int transposed_dimension(const StridedWalk<2>& walk, const Tensor& x, const Tensor& y) {
  if (x.dtype() != y.dtype() || walk.inner_stride(1) != 1 || walk.inner_stride(0) <= 1) return -1;
  for (int i = 0; i + 1 < walk.rank; ++i) {
    if (walk.strides[0][size_t(i)] == 1) return i;
  }
  return -1;
}

// The dimensions of `walk` but `row` and the innermost, walked as tasks; each task transposes a band of `tile` rows.
template <class T>
void copy_transposed(const StridedWalk<2>& walk, int row, const T* x, T* y) {
  const int64_t rows = walk.shape[size_t(row)];
  const int64_t columns = walk.inner();
  const int64_t x_column = walk.inner_stride(0);
  const int64_t y_row = walk.strides[1][size_t(row)];
  const int64_t bands = (rows + tile - 1) / tile;
  const int64_t outer = walk.numel / (rows * columns);
  parallel_for(outer * bands, row_grain(tile * columns), [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const T* from = x + task % bands * tile;
      T* to = y + task % bands * tile * y_row;
      int64_t rest = task / bands;
      for (int i = walk.rank - 2; i >= 0; --i) {
        if (i == row) continue;
        const auto dim = size_t(i);
        from += rest % walk.shape[dim] * walk.strides[0][dim];
        to += rest % walk.shape[dim] * walk.strides[1][dim];
        rest /= walk.shape[dim];
      }
      const int64_t height = std::min(tile, rows - task % bands * tile);
      for (int64_t c = 0; c < columns; c += tile) {
        const int64_t width = std::min(tile, columns - c);
        for (int64_t i = 0; i < height; ++i) pack(from + c * x_column + i, x_column, to + i * y_row + c, width);
      }
    }
  });
}

}  // namespace

void copy(const Tensor& x, Tensor& y) {
  invariant(x.shape() == y.shape(), "copy: {} into {}", x.shape(), y.shape());
  const auto* from = static_cast<const std::byte*>(x.raw());
  auto* to = static_cast<std::byte*>(y.mutable_raw());
  if (y.numel() == 0) return;
  const auto from_size = int64_t(size_of(x.dtype()));
  const auto to_size = int64_t(size_of(y.dtype()));
  if (x.is_contiguous() && y.is_contiguous()) {
    return parallel_for(y.numel(), element_grain, [&](int64_t begin, int64_t end) {
      convert(from + begin * from_size, x.dtype(), to + begin * to_size, y.dtype(), end - begin);
    });
  }
  const StridedWalk<2> walk = walk_by_output(x.shape(), x.strides(), y.strides());
  if (const int row = transposed_dimension(walk, x, y); row >= 0) {
    return visit_size(y.dtype(), [&](auto bits) {
      using T = decltype(bits);
      copy_transposed(walk, row, reinterpret_cast<const T*>(from), reinterpret_cast<T*>(to));
    });
  }
  parallel_for(walk.numel, element_grain, [&](int64_t begin, int64_t end) {
    walk.rows(begin, end, [&](const std::array<int64_t, 2>& offsets, int64_t, int64_t count) {
      copy_row(from + offsets[0] * from_size, x.dtype(), walk.inner_stride(0), to + offsets[1] * to_size, y.dtype(),
               walk.inner_stride(1), count);
    });
  });
}

void fill(Tensor& y, double value) {
  invariant(y.is_contiguous(), "fill: y {} is not contiguous", y.shape());
  alignas(8) std::byte element[sizeof(double)];
  convert(&value, DType::f64, element, y.dtype(), 1);
  void* out = y.mutable_raw();
  visit_size(y.dtype(), [&](auto bits) {
    using T = decltype(bits);
    const T pattern = *reinterpret_cast<const T*>(element);
    parallel_for(y.numel(), element_grain, [&](int64_t begin, int64_t end) {
      std::fill(static_cast<T*>(out) + begin, static_cast<T*>(out) + end, pattern);
    });
  });
}

}  // namespace mora::kernels::cpu
