// Numerical checks of derivatives, to any order, in f64.
#pragma once

#include "autograd/grad.h"

namespace mora {

struct GradCheck {
  int order = 2;
  double step = 1e-5;  // of the central difference
  double tolerance =
      1e-6;  // |analytic − numerical| ≤ tolerance·(1 + |numerical|), and order by order looser by a factor of 10
  uint64_t seed = 0;
};

// Compares the gradient of f at `inputs` (f64) with central differences along a random direction, then does the same
// for the gradient as a function of its own, down to `order`, as JAX's check_grads does. Gives an empty string, or what
// did not agree.
std::string check_grads(TensorFunction f, std::span<const Tensor> inputs, const GradCheck& options = {});

}  // namespace mora
