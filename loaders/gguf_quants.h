// ggml's block formats: a block of 32 or 256 weights shares its scales (ggml-common.h, ggml-quants.c).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace mora {

// Numbered as in the file; those MoRA reads, and those it can name.
enum class GgmlType : uint32_t {
  f32 = 0,
  f16 = 1,
  q4_0 = 2,
  q4_1 = 3,
  q5_0 = 6,
  q5_1 = 7,
  q8_0 = 8,
  q2_k = 10,
  q3_k = 11,
  q4_k = 12,
  q5_k = 13,
  q6_k = 14,
  i8 = 24,
  i16 = 25,
  i32 = 26,
  i64 = 27,
  f64 = 28,
  bf16 = 30
};

struct GgmlFormat {
  GgmlType type;
  std::string_view name;
  int64_t block;  // weights in a block
  size_t bytes;   // of a block
  // Writes the `blocks · block` weights at `from` to `to`; nullptr for a type MoRA does not read.
  void (*dequantize)(const uint8_t* from, int64_t blocks, float* to);
};

// nullptr when the number is none of GgmlType.
const GgmlFormat* find_ggml_format(uint32_t type);

inline const GgmlFormat& format_of(GgmlType type) { return *find_ggml_format(static_cast<uint32_t>(type)); }

}  // namespace mora
