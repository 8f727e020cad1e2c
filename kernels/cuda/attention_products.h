// The products of attention's tiles, and which of their elements a thread holds: R rows of the tile that its block
// owns, of each K rows of the tile that it walks over, or S columns of a head, in packs of `pack` neighbours. The
// threads that share a row are of one warp.
#pragma once

#include "kernels/cuda/tile_product.h"

namespace mora::kernels::cuda {

// By the arithmetic of single threads, in the dtype's own: square tiles.
template <class T, int Width, int Side>
struct SquareProducts {
  using C = Compute<T>;
  static constexpr int threads = square_threads, rows = Side, walked = Side;
  static constexpr int R = Side / square_side, K = R, S = Width / square_side;
  static constexpr int pack = pack_of(S);
  static constexpr int buffers = 1;                        // of what is walked over
  static constexpr int bytes = tile_bytes<C>(Side, Side);  // of shared memory, for the products themselves
  int offset;                                              // of those bytes

  SIMT_DEVICE static int row(int i) { return square_row() * R + i; }
  SIMT_DEVICE static int walked_row(int j) { return square_column() + square_side * j; }
  SIMT_DEVICE static int column(int j) { return packed_column<S>(j); }
  SIMT_DEVICE static bool first_of_row() { return square_column() == 0; }
  SIMT_DEVICE static C row_sum(C x) { return square_row_sum(x); }
  SIMT_DEVICE static C row_maximum(C x) { return square_row_maximum(x); }
  SIMT_DEVICE static C power_of_2(C x) { return exp2(x); }

  // sum = a·bᵀ over the dim columns of heads: `a` of owned rows, `b` walked.
  SIMT_DEVICE void scores(const Tile<T>& a, const Tile<T>& b, int dim, C (&sum)[R][K]) const {
    for (int i = 0; i < R; ++i)
      for (int j = 0; j < K; ++j) sum[i][j] = 0;
    add_rows_by_rows(a, b, (dim + 3) / 4 * 4, sum);
  }
  // sum = sum + weights·b, `b` walked.
  SIMT_DEVICE void add_weighted(const C (&weights)[R][K], const Tile<T>& b, C (&sum)[R][S]) const {
    const Tile<C> square = tile_at<C>(offset, Side, Side);
    simt::warp_barrier();  // what was there before has been read: a row is only ever touched by one warp
    for (int i = 0; i < R; ++i)
      for (int j = 0; j < K; ++j) square.set(row(i), walked_row(j), weights[i][j]);
    simt::warp_barrier();
    add_rows_by_columns(square, b, Side, sum);
  }
};

// 16 bits, by the matrix instructions of warps: each owns 16·Blocks rows. Weights are rounded to T before they
// multiply. What a product leaves in a lane is what the next takes from it, so weights never go through shared memory.
template <class T, int Width, int Blocks, int Walked>
struct WarpProducts {
  using C = float;
  static constexpr int warps = 4, threads = warps * simt::warp_size, rows = warps * 16 * Blocks, walked = Walked;
  static constexpr int R = 2 * Blocks, K = Walked / 4, S = Width / 4;
  static constexpr int pack = 2, buffers = 2, bytes = 0;
  int offset;

  SIMT_DEVICE static int first_row() { return simt::warp() * 16 * Blocks; }
  SIMT_DEVICE static int row(int i) { return first_row() + i / 2 * 16 + i % 2 * 8 + simt::lane() / 4; }
  SIMT_DEVICE static int walked_row(int j) { return j / 2 * 8 + simt::lane() % 4 * 2 + j % 2; }
  SIMT_DEVICE static int column(int j) { return walked_row(j); }
  SIMT_DEVICE static bool first_of_row() { return simt::lane() % 4 == 0; }
  SIMT_DEVICE static C row_sum(C x) {
    x += simt::shuffle_xor(x, 1);
    return x + simt::shuffle_xor(x, 2);
  }
  SIMT_DEVICE static C row_maximum(C x) {
    x = fmax(x, simt::shuffle_xor(x, 1));
    return fmax(x, simt::shuffle_xor(x, 2));
  }
  SIMT_DEVICE static C power_of_2(C x) { return simt::exp2_approximate(x); }

  SIMT_DEVICE void scores(const Tile<T>& a, const Tile<T>& b, int, C (&sum)[R][K]) const {
    const int matrix = simt::lane() / 8, in_matrix = simt::lane() % 8;
    SIMT_UNROLL
    for (int i = 0; i < R; ++i) {
      SIMT_UNROLL
      for (int j = 0; j < K; ++j) sum[i][j] = 0;
    }
    SIMT_UNROLL
    for (int k = 0; k < Width; k += 16) {  // beyond the columns of heads are zeros
      uint32_t left[Blocks][4];
      SIMT_UNROLL
      for (int m = 0; m < Blocks; ++m)
        simt::load_matrices<false>(
            a.elements, a.at(first_row() + 16 * m + matrix % 2 * 8 + in_matrix, k + matrix / 2 * 8), left[m]);
      SIMT_UNROLL
      for (int n = 0; n < Walked; n += 16) {
        uint32_t right[4];
        simt::load_matrices<false>(b.elements, b.at(n + matrix / 2 * 8 + in_matrix, k + matrix % 2 * 8), right);
        multiply(left, right, n, sum);
      }
    }
  }
  SIMT_DEVICE void add_weighted(const C (&weights)[R][K], const Tile<T>& b, C (&sum)[R][S]) const {
    const int matrix = simt::lane() / 8, in_matrix = simt::lane() % 8;
    SIMT_UNROLL
    for (int k = 0; k < Walked; k += 16) {
      uint32_t left[Blocks][4];
      SIMT_UNROLL
      for (int m = 0; m < Blocks; ++m) {
        SIMT_UNROLL
        for (int i = 0; i < 4; ++i) {
          const auto& row = weights[2 * m + i % 2];
          const int j = k / 4 + i / 2 * 2;
          left[m][i] = simt::both(narrow<T>(row[j]), narrow<T>(row[j + 1]));
        }
      }
      SIMT_UNROLL
      for (int n = 0; n < Width; n += 16) {
        uint32_t right[4];
        simt::load_matrices<true>(b.elements, b.at(k + matrix % 2 * 8 + in_matrix, n + matrix / 2 * 8), right);
        multiply(left, right, n, sum);
      }
    }
  }

 private:
  // Columns n … n + 15 of a sum.
  template <int N>
  SIMT_DEVICE static void multiply(const uint32_t (&left)[Blocks][4], const uint32_t (&right)[4], int n,
                                   C (&sum)[R][N]) {
    SIMT_UNROLL
    for (int m = 0; m < Blocks; ++m) {
      SIMT_UNROLL
      for (int half = 0; half < 2; ++half) {
        const int j = n / 4 + half * 2;
        const uint32_t columns[2] = {right[2 * half], right[2 * half + 1]};
        float(&upper)[N] = sum[2 * m], (&lower)[N] = sum[2 * m + 1];
        float c[4] = {upper[j], upper[j + 1], lower[j], lower[j + 1]};
        simt::multiply_matrices<T>(left[m], columns, c);
        upper[j] = c[0], upper[j + 1] = c[1], lower[j] = c[2], lower[j + 1] = c[3];
      }
    }
  }
};

// The side of square tiles: as large as lets `tiles` tiles of heads and the products fit in the 99 KiB that a block has
// on all cards since compute capability 8.0, where that can be.
template <class T, int Width>
constexpr int square_tile_side(int tiles) {
  for (int side = 64; side > 16; side /= 2) {
    const int products = tile_bytes<Compute<T>>(side, side), statistics = 1 << 10;
    if (tiles * tile_bytes<T>(side, Width) + products + statistics <= (99 << 10)) return side;
  }
  return 16;
}

// What a kernel computes with: of `Tiles` tiles where they are square; else of Blocks blocks of 16 rows a warp, against
// `Walked` rows.
template <class T, int Width, int Tiles, int Blocks, int Walked>
using Products = std::conditional_t<sizeof(T) == 2 && Width <= 128, WarpProducts<T, Width, Blocks, Walked>,
                                    SquareProducts<T, Width, square_tile_side<T, Width>(Tiles)>>;

}  // namespace mora::kernels::cuda
