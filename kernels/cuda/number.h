// An element of any dtype, for kernels that meet them at run time: copies between rare pairs, comparisons of ids.
#pragma once

#include "kernels/cuda/arrays.h"

namespace mora::kernels::cuda {

// What T counts as in arithmetic: f32 for the 16-bit floats, itself else.
SIMT_DEVICE float number(bf16_t x) { return widen(x); }
SIMT_DEVICE float number(f16_t x) { return widen(x); }
template <class T>
SIMT_DEVICE T number(T x) {
  return x;
}

// x in f32, its last bit set where that is not exact: rounded once more, to fewer bits, it is as if rounded once.
SIMT_DEVICE float rounded_to_odd(double x) {
  const auto nearest = float(x);
  if (double(nearest) == x) return nearest;
  const auto bits = std::bit_cast<uint32_t>(nearest);
  const bool away = fabs(double(nearest)) > fabs(x);
  return std::bit_cast<float>((bits - (away ? 1 : 0)) | 1);
}
template <class X>
SIMT_DEVICE float to_float(X x) {
  if constexpr (std::is_same_v<X, double>)
    return rounded_to_odd(x);
  else
    return float(number(x));
}

// x as Y: floats round to nearest even, integers wrap, booleans are x ≠ 0.
template <class Y, class X>
SIMT_DEVICE Y converted(X x) {
  if constexpr (std::is_same_v<X, Y>)
    return x;
  else if constexpr (std::is_same_v<Y, bool>)
    return number(x) != decltype(number(x))(0);
  else if constexpr (std::is_same_v<Y, bf16_t> || std::is_same_v<Y, f16_t>)
    return narrow<Y>(to_float(x));
  else
    return static_cast<Y>(number(x));
}

}  // namespace mora::kernels::cuda
