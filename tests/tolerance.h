// How far a result may be from an f64 reference computed from the same (rounded) inputs: |a − b| ≤ tolerance · (1 +
// |b|), for results that are sums or products of a few hundred numbers of magnitude about 1. One table for all tests;
// a test that needs more multiplies it, and says why.
#pragma once

#include "engine/dtype.h"

namespace mora::test {

constexpr double tolerance(DType dtype) {
  switch (dtype) {
    case DType::f64: return 1e-12;
    case DType::f32: return 5e-6;
    case DType::bf16: return 8e-3;  // 2^-8, half a unit in the last of 8 bits, twice
    case DType::f16: return 1e-3;
    default: return 0;  // integers are exact
  }
}

}  // namespace mora::test
