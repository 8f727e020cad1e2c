// Both ways in which the processor computes products of bf16.
#pragma once

#include "kernels/matmul.h"

namespace mora::test {

// Calls f(way) with each of them set; then it is again what it was.
template <class F>
void for_both_bf16_products(F f) {
  const kernels::Bf16Products before = kernels::bf16_products();
  for (const auto way : {kernels::Bf16Products::native, kernels::Bf16Products::widened}) {
    kernels::set_bf16_products(way);
    f(way);
  }
  kernels::set_bf16_products(before);
}

}  // namespace mora::test
