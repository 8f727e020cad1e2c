// Products of bf16 in the tiles of Intel's AMX: a tile is 16 rows of 64 bytes, and one instruction multiplies 16 × 32
// factors by 32 × 16 and adds them to 16 × 16 sums in f32 (Intel 64 and IA-32 Architectures Software Developer's
// Manual, volume 1, chapter 18, "Programming with Intel AMX"). Factors that are neighbours in depth lie in pairs, as in
// kernels/cpu/block_product.h.
#pragma once

#include <cstdint>

namespace mora::kernels::cpu {

inline constexpr int64_t rows_of_tiles = 32;    // of a and c: two tiles of 16 below each other
inline constexpr int64_t columns_of_tile = 16;  // of b and c
inline constexpr int64_t factors_of_tile = 32;  // of depth

constexpr int64_t next_multiple(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }
// The rows of a and c that are read and written.
constexpr int64_t tiled_rows(int64_t rows) { return next_multiple(rows, 16); }

// Whether the processor has such tiles, and the kernel lets this process use them.
bool has_bf16_tiles();

// This thread's tiles are its own while one lives; a product of oneDNN in between takes them away.
class Bf16Tiles {
 public:
  explicit Bf16Tiles(bool used);
  ~Bf16Tiles();
  Bf16Tiles(const Bf16Tiles&) = delete;
  Bf16Tiles& operator=(const Bf16Tiles&) = delete;

 private:
  bool used_;
};

// A matrix of 4-byte elements, pairs of factors or sums, with rows `stride` elements apart.
struct TileRows {
  void* data;
  int64_t stride;
};

// c (rows, columns) = [c +] a (rows, 2·pairs) · b (2·pairs, columns), pairs and columns multiples of 16. Of a
// and c all `tiled_rows` are there. With `rest`, a matrix like a, c = [c +] (a + rest) · b.
void multiply_tiles(TileRows a, TileRows b, TileRows c, int64_t rows, int64_t columns, int64_t pairs, bool accumulate,
                    TileRows rest = {});

// to (rows, columns) = the transpose of from (columns, rows), elements of 4 bytes; rows and columns multiples of 16.
void transpose_elements(TileRows from, TileRows to, int64_t rows, int64_t columns);

}  // namespace mora::kernels::cpu
