// The functions that kernels take by name. Plain: the kernels of every device read this.
#pragma once

namespace mora::kernels {

// Of one element.
enum class Unary {
  negate,
  absolute,
  sign,
  exp,
  log,
  sqrt,
  rsqrt,
  reciprocal,
  square,
  tanh,
  sigmoid,
  erf,
  sin,
  cos,
  relu,       // max(x, 0)
  step,       // 1 where x > 0, else 0: relu's derivative
  gelu,       // x · ½(1 + erf(x/√2))                                  Hendrycks & Gimpel 2016
  gelu_tanh,  // x · ½(1 + tanh(√(2/π)(x + 0.044715 x³)))
  silu,       // x · σ(x)
};

// Of two.
enum class Binary { add, sub, mul, div, maximum, minimum };
enum class Compare { equal, less, less_equal, greater, greater_equal };
// Of many.
enum class Reduce { sum, maximum };

}  // namespace mora::kernels
