#include "kernels/cpu/bf16_tiles.h"

#include <cstddef>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace mora::kernels::cpu {

#if defined(__x86_64__) && defined(__linux__)
namespace {

// Clang 14's __builtin_cpu_supports does not know of them.
bool processor_has_tiles() {
  constexpr unsigned bf16 = 1U << 22, tiles = 1U << 24;  // of leaf 7's EDX (Intel's manual, volume 2, CPUID)
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d & bf16) != 0 && (d & tiles) != 0;
}

// Linux keeps a process's tiles only after it asked for that (Documentation/arch/x86/xstate.rst).
bool ask_for_tiles() {
  constexpr int request_permission = 0x1023, tile_data = 18;
  return syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
}

struct alignas(64) TileShapes {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// Of memory, element (row, column) in bytes.
std::byte* at(TileRows m, int64_t row, int64_t column) {
  return static_cast<std::byte*>(m.data) + 4 * (row * m.stride + column);
}

// Sums in tiles 0 to 3, row by row; a in 4 and 5, b in 6 and 7.
template <int ROWS, int COLUMNS>
__attribute__((target("amx-tile,amx-bf16"))) void multiply_block(TileRows a, TileRows rest, TileRows b, TileRows c,
                                                                 int64_t pairs, bool accumulate) {
  const int64_t a_row = 4 * a.stride, b_row = 4 * b.stride, c_row = 4 * c.stride;
  if (accumulate) {
    _tile_loadd(0, at(c, 0, 0), c_row);
    if constexpr (COLUMNS == 2) _tile_loadd(1, at(c, 0, 16), c_row);
    if constexpr (ROWS == 2) _tile_loadd(2, at(c, 16, 0), c_row);
    if constexpr (ROWS == 2 && COLUMNS == 2) _tile_loadd(3, at(c, 16, 16), c_row);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  for (int64_t k = 0; k < pairs; k += 16) {
    _tile_loadd(6, at(b, k, 0), b_row);
    _tile_loadd(4, at(a, 0, k), a_row);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (COLUMNS == 2) {
      _tile_loadd(7, at(b, k, 16), b_row);
      _tile_dpbf16ps(1, 4, 7);
    }
    if constexpr (ROWS == 2) {
      _tile_loadd(5, at(a, 16, k), a_row);
      _tile_dpbf16ps(2, 5, 6);
      if constexpr (COLUMNS == 2) _tile_dpbf16ps(3, 5, 7);
    }
    if (!rest.data) continue;
    _tile_loadd(4, at(rest, 0, k), 4 * rest.stride);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (COLUMNS == 2) _tile_dpbf16ps(1, 4, 7);
    if constexpr (ROWS == 2) {
      _tile_loadd(5, at(rest, 16, k), 4 * rest.stride);
      _tile_dpbf16ps(2, 5, 6);
      if constexpr (COLUMNS == 2) _tile_dpbf16ps(3, 5, 7);
    }
  }
  _tile_stored(0, at(c, 0, 0), c_row);
  if constexpr (COLUMNS == 2) _tile_stored(1, at(c, 0, 16), c_row);
  if constexpr (ROWS == 2) _tile_stored(2, at(c, 16, 0), c_row);
  if constexpr (ROWS == 2 && COLUMNS == 2) _tile_stored(3, at(c, 16, 16), c_row);
}

// Where the columns of two rows STEP apart come from after `exchange`: below 16 the first row, then the second.
struct alignas(64) Columns {
  uint32_t of[16];
};
template <uint32_t STEP>
constexpr Columns columns_of(bool upper) {
  Columns from{};
  for (uint32_t i = 0; i < 16; ++i) {
    const bool second = (i & STEP) != 0;
    from.of[i] = upper ? (second ? 16 + i - STEP : i) : (second ? 16 + i : i + STEP);
  }
  return from;
}

// Of each two rows STEP apart, the blocks of STEP columns that are not on the diagonal change places.
template <int STEP>
__attribute__((target("avx512f"))) inline void exchange(__m512i (&rows)[16]) {
  static constexpr Columns upper = columns_of<STEP>(true), lower = columns_of<STEP>(false);
  const __m512i to_upper = _mm512_load_si512(&upper), to_lower = _mm512_load_si512(&lower);
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) {
    if (i & STEP) continue;
    const __m512i first = rows[i], second = rows[i + STEP];
    rows[i] = _mm512_permutex2var_epi32(first, to_upper, second);
    rows[i + STEP] = _mm512_permutex2var_epi32(first, to_lower, second);
  }
}

__attribute__((target("avx512f"))) void transpose_block(const std::byte* from, int64_t from_row, std::byte* to,
                                                        int64_t to_row) {
  __m512i rows[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) rows[i] = _mm512_loadu_si512(from + i * from_row);
  exchange<1>(rows);
  exchange<2>(rows);
  exchange<4>(rows);
  exchange<8>(rows);
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) _mm512_storeu_si512(to + i * to_row, rows[i]);
}

__attribute__((target("amx-tile"))) void configure_tiles() {
  static constexpr TileShapes shapes;
  _tile_loadconfig(&shapes);
}
__attribute__((target("amx-tile"))) void release_tiles() { _tile_release(); }

}  // namespace

bool has_bf16_tiles() {
  static const bool has = processor_has_tiles() && __builtin_cpu_supports("avx512bw") != 0 && ask_for_tiles();
  return has;
}

Bf16Tiles::Bf16Tiles(bool used) : used_(used) {
  if (used_) configure_tiles();
}
Bf16Tiles::~Bf16Tiles() {
  if (used_) release_tiles();
}

void multiply_tiles(TileRows a, TileRows b, TileRows c, int64_t rows, int64_t columns, int64_t pairs, bool accumulate,
                    TileRows rest) {
  for (int64_t row = 0; row < rows; row += 32) {
    const TileRows rows_of_a{at(a, row, 0), a.stride};
    const TileRows rows_of_rest{rest.data ? at(rest, row, 0) : nullptr, rest.stride};
    for (int64_t column = 0; column < columns; column += 32) {
      const TileRows columns_of_b{at(b, 0, column), b.stride}, block{at(c, row, column), c.stride};
      const bool one_row = rows - row <= 16, one_column = columns - column <= 16;
      const auto f = one_row ? (one_column ? multiply_block<1, 1> : multiply_block<1, 2>)
                             : (one_column ? multiply_block<2, 1> : multiply_block<2, 2>);
      f(rows_of_a, rows_of_rest, columns_of_b, block, pairs, accumulate);
    }
  }
}

void transpose_elements(TileRows from, TileRows to, int64_t rows, int64_t columns) {
  for (int64_t row = 0; row < rows; row += 16)
    for (int64_t column = 0; column < columns; column += 16)
      transpose_block(at(from, column, row), 4 * from.stride, at(to, row, column), 4 * to.stride);
}

#else

bool has_bf16_tiles() { return false; }
Bf16Tiles::Bf16Tiles(bool used) : used_(used) {}
Bf16Tiles::~Bf16Tiles() = default;
void multiply_tiles(TileRows, TileRows, TileRows, int64_t, int64_t, int64_t, bool, TileRows) {}
void transpose_elements(TileRows, TileRows, int64_t, int64_t) {}

#endif

}  // namespace mora::kernels::cpu
