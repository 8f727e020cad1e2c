#include "engine/random.h"

#include <cmath>
#include <numbers>

namespace mora {
namespace {

__extension__ using Wide = unsigned __int128;

}  // namespace

double RandomStream::normal(uint64_t i) const {
  const PhiloxBlock b = block(i);
  const double u1 = (double(b[0]) + 1.0) * 0x1p-32;  // (0, 1]
  const double u2 = double(b[1]) * 0x1p-32;
  return std::sqrt(-2.0 * std::log(u1)) * std::cos(2.0 * std::numbers::pi * u2);
}

uint64_t RandomStream::below(uint64_t i, uint64_t n) const {
  const PhiloxBlock b = block(i);
  const uint64_t r = (uint64_t{b[1]} << 32) | b[0];
  return uint64_t((static_cast<Wide>(r) * n) >> 64);
}

}  // namespace mora
