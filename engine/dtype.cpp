#include "engine/dtype.h"

namespace mora {

f16_t::f16_t(float value) {
  const auto u = std::bit_cast<uint32_t>(value);
  const uint16_t sign = uint16_t((u >> 16) & 0x8000u);
  const uint32_t magnitude = u & 0x7FFFFFFFu;
  if (magnitude > 0x7F800000u) {  // NaN
    bits = sign | 0x7E00u;
  } else if (magnitude >= 0x477FF000u) {  // rounds past the largest finite half, 65504
    bits = sign | 0x7C00u;
  } else if (magnitude < 0x38800000u) {  // subnormal: adding 0.5 lets the f32 adder round at 2^-24
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    bits = uint16_t(sign | (std::bit_cast<uint32_t>(shifted) - 0x3F000000u));
  } else {
    bits = uint16_t(sign | ((magnitude + 0xFFFu + ((magnitude >> 13) & 1u) - 0x38000000u) >> 13));
  }
}

f16_t::operator float() const {
  const uint32_t sign = uint32_t(bits & 0x8000u) << 16;
  const uint32_t magnitude = bits & 0x7FFFu;
  if (magnitude >= 0x7C00u) return std::bit_cast<float>(sign | 0x7F800000u | ((magnitude & 0x3FFu) << 13));
  if (magnitude < 0x400u) {  // subnormal: magnitude · 2^-24, exact
    const float value = static_cast<float>(magnitude) * 0x1p-24f;
    return sign ? -value : value;
  }
  return std::bit_cast<float>(sign | ((magnitude << 13) + 0x38000000u));
}

}  // namespace mora
