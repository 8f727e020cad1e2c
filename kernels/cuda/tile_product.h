// Products of small matrices in shared memory, f32 (f64) in registers.
//
// The 256 threads of a block are a square of 16 by 16. Of a sum with 16·R rows, thread (row, column) of the square
// holds rows row·R + i; of its columns it holds column + 16·j where they are rows of b, else packs of `pack_of`
// neighbours. Depths are multiples of 4: what is beyond a matrix is zero in its tile.
#pragma once

#include "kernels/cuda/simt.h"

namespace mora::kernels::cuda {

using simt::Pack;
using simt::Shared;
using simt::widen;

inline constexpr int square_side = 16, square_threads = square_side * square_side;
SIMT_DEVICE int square_row() { return simt::thread_index() / square_side; }
SIMT_DEVICE int square_column() { return simt::thread_index() % square_side; }

// Rows begin at multiples of 16 bytes, such that 8 neighbours' 16 bytes (16 rows' 8 bytes) lie in different banks.
template <class T>
constexpr int tile_stride(int columns) {
  return columns + 16 / int(sizeof(T));
}
template <class T>
constexpr int tile_bytes(int rows, int columns) {
  return rows * tile_stride<T>(columns) * int(sizeof(T));
}

template <class T>
struct Tile {
  Shared<T> elements;
  int stride;

  SIMT_DEVICE int at(int row, int column) const { return row * stride + column; }
  template <int N>
  SIMT_DEVICE Pack<T, N> pack(int row, int column) const {
    return elements.template pack<N>(at(row, column));
  }
  template <int N>
  SIMT_DEVICE void set_pack(int row, int column, const Pack<T, N>& pack) const {
    elements.set_pack(at(row, column), pack);
  }
  SIMT_DEVICE T get(int row, int column) const { return elements[at(row, column)]; }
  SIMT_DEVICE void set(int row, int column, T value) const { elements[at(row, column)] = value; }
};

// A tile in the block's dynamic shared memory, from byte `offset` on.
template <class T>
SIMT_DEVICE Tile<T> tile_at(int offset, int rows, int columns) {
  const int stride = tile_stride<T>(columns);
  return {simt::dynamic_shared<T>(offset, rows * stride), stride};
}

// Columns of a sum that a thread holds side by side, where it holds `count`.
constexpr int pack_of(int count) { return count < 4 ? count : 4; }
// The first column of the pack of the thread's j-th of `count` columns, plus j's place in it.
template <int Count>
SIMT_DEVICE int packed_column(int j) {
  constexpr int width = pack_of(Count);
  return (square_column() + j / width * square_side) * width + j % width;
}

// sum[i][j] += a[row·R + i] · b[column + 16·j], over `depth` columns of both.
template <int R, int S, class C, class A, class B>
SIMT_DEVICE void add_rows_by_rows(const Tile<A>& a, const Tile<B>& b, int depth, C (&sum)[R][S]) {
  for (int k = 0; k < depth; k += 4) {
    Pack<A, 4> left[R];
    for (int i = 0; i < R; ++i) left[i] = a.template pack<4>(square_row() * R + i, k);
    for (int j = 0; j < S; ++j) {
      const Pack<B, 4> right = b.template pack<4>(square_column() + square_side * j, k);
      for (int i = 0; i < R; ++i)
        for (int l = 0; l < 4; ++l) sum[i][j] += widen(left[i].values[l]) * widen(right.values[l]);
    }
  }
}

template <int R, int S, class C, class A, class B>
SIMT_DEVICE void add_outer(const A (&left)[R], const Tile<B>& b, int row, C (&sum)[R][S]) {
  constexpr int width = pack_of(S);
  for (int j = 0; j < S; j += width) {
    const Pack<B, width> right = b.template pack<width>(row, packed_column<S>(j));
    for (int i = 0; i < R; ++i)
      for (int l = 0; l < width; ++l) sum[i][j + l] += widen(left[i]) * widen(right.values[l]);
  }
}

// sum[i][j] += Σ_k a[row·R + i][k] · b[k][packed_column(j)]
template <int R, int S, class C, class A, class B>
SIMT_DEVICE void add_rows_by_columns(const Tile<A>& a, const Tile<B>& b, int depth, C (&sum)[R][S]) {
  for (int k = 0; k < depth; k += 4) {
    Pack<A, 4> rows[R];
    for (int i = 0; i < R; ++i) rows[i] = a.template pack<4>(square_row() * R + i, k);
    for (int l = 0; l < 4; ++l) {
      A left[R];
      for (int i = 0; i < R; ++i) left[i] = rows[i].values[l];
      add_outer(left, b, k + l, sum);
    }
  }
}

// sum[i][j] += Σ_k a[k][row·R + i] · b[k][packed_column(j)]
template <int R, int S, class C, class A, class B>
SIMT_DEVICE void add_columns_by_columns(const Tile<A>& a, const Tile<B>& b, int depth, C (&sum)[R][S]) {
  for (int k = 0; k < depth; ++k) {
    const Pack<A, R> left = a.template pack<R>(k, square_row() * R);
    add_outer(left.values, b, k, sum);
  }
}

// Σ (or the largest) of the 16 threads of a row of the square; each gets it.
template <class C>
SIMT_DEVICE C square_row_sum(C x) {
  for (int mask = square_side / 2; mask > 0; mask /= 2) x += simt::shuffle_xor(x, mask);
  return x;
}
template <class C>
SIMT_DEVICE C square_row_maximum(C x) {
  for (int mask = square_side / 2; mask > 0; mask /= 2) x = fmax(x, simt::shuffle_xor(x, mask));
  return x;
}

}  // namespace mora::kernels::cuda
