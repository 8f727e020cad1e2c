// d/dx Σ x² = 2x, and the gradient of that; and a part of the library above the engine.
#include <cstdio>

#include "autograd/grad.h"
#include "autograd/ops/elementary.h"
#include "autograd/ops/reduce.h"
#include "mora/training/config.h"

int main() {
  using namespace mora;
  const Tensor x = leaf(Tensor::from<float>({1, -2, 3}, {3}));
  const Tensors inputs{x};
  const Tensor first = grad(sum(square(x)), inputs, {.create_graph = true})[0];
  const Tensor second = grad(sum(first), inputs)[0];
  for (size_t i = 0; i < 3; ++i) {
    std::printf("%g %g %g\n", double(x.values<float>()[i]), double(first.values<float>()[i]),
                double(second.values<float>()[i]));
    if (first.values<float>()[i] != 2 * x.values<float>()[i] || second.values<float>()[i] != 2) return 1;
  }
  return parse_config("model: m\ndata: {train: a.tsv}\nout: r\n", "text").model == "m" ? 0 : 1;
}
