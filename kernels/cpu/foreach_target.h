// Compiles the including kernel file once for each instruction set: SSE4.2 (the floor on x86), AVX2 with FMA, AVX-512;
// NEON on Arm. More sets would cost compile time and win little.
//
// A kernel file begins with
//   #undef HWY_TARGET_INCLUDE
//   #define HWY_TARGET_INCLUDE "kernels/cpu/unary.cpp"  // itself
//   #include "kernels/cpu/foreach_target.h"
//   #include "kernels/cpu/simd.h"
// then its bodies stand between HWY_BEFORE_NAMESPACE() and HWY_AFTER_NAMESPACE() in
// mora::kernels::cpu::HWY_NAMESPACE::(anonymous), and under `#if HWY_ONCE` HWY_EXPORT and HWY_DYNAMIC_DISPATCH make
// the public functions. Lambdas in the region carry HWY_ATTR before their body: `[&](auto v) HWY_ATTR { … }`.
#pragma once

#define HWY_WANT_SSE4 1
// SSSE3, SSE4.1 without AES …, and everything above AVX3 (bit 8).
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | 0xFF)

#include <hwy/foreach_target.h>  // IWYU pragma: export
