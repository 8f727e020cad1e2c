// A tensor, its gradient, and the gradient of that: f(x) = Σ x³, f' = 3x², f'' = 6x.
#include <fmt/format.h>

#include "autograd/grad.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/elementary.h"
#include "autograd/ops/reduce.h"

int main() {
  using namespace mora;
  const Tensor x = leaf(Tensor::from(std::vector<float>{1, -2, 3}, {3}));
  const Tensors inputs{x};

  const Tensor f = sum(square(x) * x);
  const Tensor first = grad(f, inputs, {.create_graph = true})[0];  // recorded, as the next line differentiates it
  const Tensor second = grad(sum(first), inputs)[0];

  bool right = true;
  for (size_t i = 0; i < 3; ++i) {
    const float v = x.values<float>()[i], d = first.values<float>()[i], dd = second.values<float>()[i];
    fmt::print("x = {:4}   f' = {:4}   f'' = {:4}\n", v, d, dd);
    right = right && d == 3 * v * v && dd == 6 * v;
  }
  return right ? 0 : 1;
}
