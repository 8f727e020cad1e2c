#include "engine/random.h"

#include <cmath>
#include <numbers>

namespace mora {
namespace {

__extension__ using Wide = unsigned __int128;

uint64_t mix(uint64_t z) {  // splitmix64's finaliser (Steele, Lea, Flood 2014)
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

}  // namespace

RandomStream::RandomStream(const RandomKey& key) : seed_(key.seed), stream_(0) {
  for (uint64_t part : {key.epoch, key.step, key.layer, uint64_t(key.purpose)})
    stream_ = mix(stream_ + 0x9E3779B97F4A7C15u + part);
}

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
