// Walking K tensors of one shape and any strides row by row, after merging the dimensions that can be walked as one.
#pragma once

#include <algorithm>
#include <array>
#include <cstdlib>
#include <numeric>

#include "engine/shape.h"

namespace mora::kernels {

// The shape all operands share with size-1 dimensions dropped and neighbours merged where every operand allows it: at
// least one dimension, the last is the innermost.
template <size_t K>
struct StridedWalk {
  int rank = 0;
  std::array<int64_t, max_rank> shape{};
  std::array<std::array<int64_t, max_rank>, K> strides{};
  int64_t numel = 1;

  StridedWalk(const Shape& full, const std::array<const Strides*, K>& operands) {
    for (int i = 0; i < full.rank(); ++i) {
      numel *= full[i];
      if (full[i] == 1) continue;
      if (rank > 0 && merges(full[i], operands, i)) {
        shape[last()] *= full[i];
      } else {
        shape[size_t(rank++)] = full[i];
      }
      for (size_t k = 0; k < K; ++k) strides[k][last()] = (*operands[k])[i];
    }
    if (rank == 0) shape[size_t(rank++)] = 1;
  }

  size_t last() const { return size_t(rank - 1); }
  int64_t inner() const { return shape[last()]; }
  int64_t inner_stride(size_t k) const { return strides[k][last()]; }

  // f(offsets, index, count) for each piece of an innermost row in the row-major elements [begin, end): `offsets` in
  // elements of each operand, `index` of the piece's first element.
  template <class F>
  void rows(int64_t begin, int64_t end, F&& f) const {
    if (begin >= end) return;
    std::array<int64_t, max_rank> at{};
    std::array<int64_t, K> offsets{};
    for (int64_t i = rank - 1, rest = begin; i >= 0; --i) {
      at[size_t(i)] = rest % shape[size_t(i)];
      rest /= shape[size_t(i)];
      for (size_t k = 0; k < K; ++k) offsets[k] += at[size_t(i)] * strides[k][size_t(i)];
    }
    for (int64_t index = begin; index < end;) {
      const int64_t count = std::min(inner() - at[last()], end - index);
      f(offsets, index, count);
      index += count;
      advance(at, offsets, count);
    }
  }

 private:
  bool merges(int64_t size, const std::array<const Strides*, K>& operands, int i) const {
    for (size_t k = 0; k < K; ++k) {
      if (strides[k][last()] != (*operands[k])[i] * size) return false;
    }
    return true;
  }

  // Moves on by `count` elements, at most to the end of the row.
  void advance(std::array<int64_t, max_rank>& at, std::array<int64_t, K>& offsets, int64_t count) const {
    size_t i = last();
    for (size_t k = 0; k < K; ++k) offsets[k] += count * strides[k][i];
    for (at[i] += count; at[i] == shape[i] && i > 0; ++at[i]) {
      for (size_t k = 0; k < K; ++k) offsets[k] += strides[k][i - 1] - shape[i] * strides[k][i];
      at[i--] = 0;
    }
  }
};

// What is read and what is written, the dimensions from the largest stride of the second to its smallest, so that
// writing is as sequential as it can be.
inline StridedWalk<2> walk_by_output(const Shape& full, const Strides& input, const Strides& output) {
  std::array<int, max_rank> order{};
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.begin() + full.rank(),
                   [&](int i, int j) { return std::abs(output[i]) > std::abs(output[j]); });
  Shape shape;
  Strides from, to;
  for (int i = 0; i < full.rank(); ++i) {
    shape.push_back(full[order[size_t(i)]]);
    from.push_back(input[order[size_t(i)]]);
    to.push_back(output[order[size_t(i)]]);
  }
  return StridedWalk<2>(shape, {&from, &to});
}

// Copies n elements `stride` apart into a dense buffer.
template <class T>
void pack(const T* from, int64_t stride, T* to, int64_t n) {
  for (int64_t i = 0; i < n; ++i) to[i] = from[i * stride];
}

}  // namespace mora::kernels
