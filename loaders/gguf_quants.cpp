// In a block, d and m are f16 scales and q the small integers:
//   Q4_0 d(q − 8)   Q4_1 dq + m   Q5_0 d(q − 16)   Q5_1 dq + m   Q8_0 dq
//   Q4_K, Q5_K  (d·s)q − (dmin·m) with 6-bit s and m for each 32   Q6_K  (d·s)(q − 32) with i8 s for each 16
#include "loaders/gguf_quants.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "engine/dtype.h"

namespace mora {
namespace {

float half(const uint8_t* at) {
  f16_t value;
  std::memcpy(&value.bits, at, 2);
  return static_cast<float>(value);
}

void from_f32(const uint8_t* from, int64_t blocks, float* to) {
  std::memcpy(to, from, static_cast<size_t>(blocks) * sizeof(float));
}

void from_f16(const uint8_t* from, int64_t blocks, float* to) {
  for (int64_t i = 0; i < blocks; ++i) to[i] = half(from + 2 * i);
}

void from_bf16(const uint8_t* from, int64_t blocks, float* to) {
  for (int64_t i = 0; i < blocks; ++i) {
    bf16_t value;
    std::memcpy(&value.bits, from + 2 * i, 2);
    to[i] = static_cast<float>(value);
  }
}

void from_q8_0(const uint8_t* from, int64_t blocks, float* to) {
  for (; blocks > 0; --blocks, from += 34, to += 32) {
    const float d = half(from);
    for (int i = 0; i < 32; ++i) to[i] = static_cast<float>(static_cast<int8_t>(from[2 + i])) * d;
  }
}

// 4-bit blocks of 32: weight i in the low, i + 16 in the high half of byte i. `Fifth`: bit i of a u32 is bit 4 of
// weight i. `Minimum`: q·d + m; otherwise d·(q − the middle of the range).
template <bool Fifth, bool Minimum>
void from_q4_q5(const uint8_t* from, int64_t blocks, float* to) {
  constexpr size_t scales = Minimum ? 4 : 2, bytes = scales + (Fifth ? 4 : 0) + 16;
  constexpr int middle = Minimum ? 0 : Fifth ? 16 : 8;
  for (; blocks > 0; --blocks, from += bytes, to += 32) {
    const float d = half(from), m = Minimum ? half(from + 2) : 0.0f;
    uint32_t high = 0;
    if (Fifth) std::memcpy(&high, from + scales, 4);
    const uint8_t* q = from + bytes - 16;
    const auto weight = [&](int i, uint32_t low) {
      const auto all = static_cast<int>(low | ((high >> i & 1u) << 4));
      return Minimum ? d * static_cast<float>(all) + m : d * static_cast<float>(all - middle);
    };
    for (int i = 0; i < 16; ++i) {
      to[i] = weight(i, q[i] & 0xFu);
      to[i + 16] = weight(i + 16, q[i] >> 4);
    }
  }
}

// Scale and minimum j of the eight 6-bit pairs that Q4_K and Q5_K keep in 12 bytes.
std::array<uint8_t, 2> scale_and_minimum(const uint8_t* s, int j) {
  if (j < 4) return {static_cast<uint8_t>(s[j] & 63), static_cast<uint8_t>(s[j + 4] & 63)};
  return {static_cast<uint8_t>((s[j + 4] & 15) | (s[j - 4] >> 6 << 4)),
          static_cast<uint8_t>((s[j + 4] >> 4) | (s[j] >> 6 << 4))};
}

// d, dmin, 12 bytes of scales, for Q5_K 32 bytes of fifth bits, 128 bytes of nibbles. Group j of 32 weights: nibbles of
// bytes 32⌊j/2⌋…, low for even j; bit j of the fifth bits.
template <bool Fifth>
void from_q4_k_q5_k(const uint8_t* from, int64_t blocks, float* to) {
  constexpr size_t bytes = 16 + (Fifth ? 32 : 0) + 128;
  for (; blocks > 0; --blocks, from += bytes, to += 256) {
    const float d = half(from), dmin = half(from + 2);
    const uint8_t* high = from + 16;
    const uint8_t* q = from + bytes - 128;
    for (int j = 0; j < 8; ++j) {
      const auto [scale, minimum] = scale_and_minimum(from + 4, j);
      const float ds = d * static_cast<float>(scale), dm = dmin * static_cast<float>(minimum);
      for (int i = 0; i < 32; ++i) {
        uint32_t value = j % 2 == 0 ? q[32 * (j / 2) + i] & 0xFu : q[32 * (j / 2) + i] >> 4;
        if (Fifth) value |= (high[i] >> j & 1u) << 4;
        to[32 * j + i] = ds * static_cast<float>(value) - dm;
      }
    }
  }
}

// 128 bytes of low nibbles, 64 of upper bit pairs, 16 i8 scales, d. Group g of 32 weights (half h = g/4): nibbles of
// bytes 64h + 32(g mod 2)…, high for g mod 4 ≥ 2; bit pair g mod 4 of bytes 32h….
void from_q6_k(const uint8_t* from, int64_t blocks, float* to) {
  for (; blocks > 0; --blocks, from += 210, to += 256) {
    const uint8_t* high = from + 128;
    const uint8_t* scales = from + 192;
    const float d = half(from + 208);
    for (int g = 0; g < 8; ++g) {
      const uint8_t* nibbles = from + 64 * (g / 4) + 32 * (g % 2);
      for (int i = 0; i < 32; ++i) {
        const uint32_t low = g % 4 < 2 ? nibbles[i] & 0xFu : nibbles[i] >> 4;
        const uint32_t top = high[32 * (g / 4) + i] >> (2 * (g % 4)) & 3u;
        const float scale = d * static_cast<float>(static_cast<int8_t>(scales[2 * g + i / 16]));
        to[32 * g + i] = scale * static_cast<float>(static_cast<int>(low | top << 4) - 32);
      }
    }
  }
}

constexpr std::array<GgmlFormat, 18> kFormats = {{
    {GgmlType::f32, "F32", 1, 4, from_f32},
    {GgmlType::f16, "F16", 1, 2, from_f16},
    {GgmlType::q4_0, "Q4_0", 32, 18, from_q4_q5<false, false>},
    {GgmlType::q4_1, "Q4_1", 32, 20, from_q4_q5<false, true>},
    {GgmlType::q5_0, "Q5_0", 32, 22, from_q4_q5<true, false>},
    {GgmlType::q5_1, "Q5_1", 32, 24, from_q4_q5<true, true>},
    {GgmlType::q8_0, "Q8_0", 32, 34, from_q8_0},
    {GgmlType::q2_k, "Q2_K", 256, 84, nullptr},
    {GgmlType::q3_k, "Q3_K", 256, 110, nullptr},
    {GgmlType::q4_k, "Q4_K", 256, 144, from_q4_k_q5_k<false>},
    {GgmlType::q5_k, "Q5_K", 256, 176, from_q4_k_q5_k<true>},
    {GgmlType::q6_k, "Q6_K", 256, 210, from_q6_k},
    {GgmlType::i8, "I8", 1, 1, nullptr},
    {GgmlType::i16, "I16", 1, 2, nullptr},
    {GgmlType::i32, "I32", 1, 4, nullptr},
    {GgmlType::i64, "I64", 1, 8, nullptr},
    {GgmlType::f64, "F64", 1, 8, nullptr},
    {GgmlType::bf16, "BF16", 1, 2, from_bf16},
}};

}  // namespace

const GgmlFormat* find_ggml_format(uint32_t type) {
  const auto* found = std::ranges::find(kFormats, static_cast<GgmlType>(type), &GgmlFormat::type);
  return found == kFormats.end() ? nullptr : found;
}

}  // namespace mora
