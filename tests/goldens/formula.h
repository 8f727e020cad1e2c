// Weights by formula, so that a golden need not carry them: formula.py computes the same numbers, bit for bit.
//
//   h = FNV-1a(name),  z = splitmix64(h + (i + 1)·0x9E3779B97F4A7C15),  u = ⌊z / 2⁴⁰⌋ / 2²⁴ ∈ [0, 1)
//   value(name, i, bound) = bound · (2u − 1)          computed in f64; i: the flat row-major index
#pragma once

#include <cstdint>
#include <string_view>

namespace mora::goldens {

inline double formula_value(std::string_view name, uint64_t index, double bound) {
  uint64_t hash = 0xCBF29CE484222325;  // FNV-1a, 64 bits
  for (char c : name) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001B3;
  uint64_t z = hash + (index + 1) * 0x9E3779B97F4A7C15;  // splitmix64
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
  z ^= z >> 31;
  const double u = static_cast<double>(z >> 40) / 16777216.0;
  return bound * (2 * u - 1);
}

}  // namespace mora::goldens
