// Element-wise functions of one tensor: y_i = f(x_i). x and y contiguous, same shape, floating, same dtype; 16-bit in
// f32.
#pragma once

#include "engine/random.h"
#include "kernels/dispatch.h"
#include "kernels/functions.h"

namespace mora::kernels {

// The function's name, and that of its backward, as ops are called.
constexpr std::string_view unary_name(Unary f) {
  constexpr std::string_view names[] = {"negate",     "absolute", "sign", "exp",       "log", "sqrt", "rsqrt",
                                        "reciprocal", "square",   "tanh", "sigmoid",   "erf", "sin",  "cos",
                                        "relu",       "step",     "gelu", "gelu_tanh", "silu"};
  return names[static_cast<size_t>(f)];
}
constexpr std::string_view unary_backward_name(Unary f) {
  return f == Unary::gelu ? "gelu_backward" : f == Unary::gelu_tanh ? "gelu_tanh_backward" : "silu_backward";
}

MORA_KERNEL(unary, const Tensor& x, Tensor& y, Unary f);
// gx_i = gy_i · f'(x_i) for gelu, gelu_tanh, silu, in one pass.
MORA_KERNEL(unary_backward, const Tensor& x, const Tensor& gy, Tensor& gx, Unary f);
// y = scale · x + shift
MORA_KERNEL(affine, const Tensor& x, Tensor& y, double scale, double shift);
// y = x^exponent
MORA_KERNEL(power, const Tensor& x, Tensor& y, double exponent);
// y = min(max(x, low), high)
MORA_KERNEL(clamp, const Tensor& x, Tensor& y, double low, double high);
// y = silu(gate) · up, and its gradients. Shazeer 2020, "GLU Variants Improve Transformer".
MORA_KERNEL(swiglu, const Tensor& gate, const Tensor& up, Tensor& y);
MORA_KERNEL(swiglu_backward, const Tensor& gate, const Tensor& up, const Tensor& gy, Tensor& ggate, Tensor& gup);
// y_i = x_i / (1 − p) where the i-th uniform number of the key's stream is ≥ p, else 0. Its own backward. `clock`, i64
// (2) or undefined, holds an epoch and a step that are taken instead of the key's.
MORA_KERNEL(dropout, const Tensor& x, Tensor& y, double p, const RandomKey& key, const Tensor& clock);

}  // namespace mora::kernels
