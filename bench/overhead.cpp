// What the tape costs: ops so small that their arithmetic takes no time.
#include "autograd/grad.h"
#include "autograd/ops/arithmetic.h"
#include "bench/bench.h"

namespace mora::bench {
namespace {

constexpr int64_t elements = 64;

void check() {
  const Tensor x[] = {leaf(normal({elements}, 1)), leaf(normal({elements}, 2))};
  const Tensor y = x[0] * x[1], gy = normal({elements}, 3);
  const Tensors g = grad(std::span(&y, 1), x, {}, std::span(&gy, 1));
  check_near("the gradient of a product", double(g[0].data<float>()[63]),
             double(x[1].data<float>()[63]) * double(gy.data<float>()[63]), 1e-6);
}

}  // namespace

void overhead(const Inputs&, Report report) {
  check();
  const Tensor a = normal({elements}, 1), b = normal({elements}, 2), gy = normal({elements}, 3);
  const Tensor x = leaf(a);
  report({.name = "add of 64, forward", .seconds = median_seconds([&] { a + b; })});
  report({.name = "add of 64, forward recorded", .seconds = median_seconds([&] { x + b; })});
  report({.name = "add of 64, forward+backward", .seconds = median_seconds([&] {
                                                   const Tensor y = x + b;
                                                   grad(std::span(&y, 1), std::span(&x, 1), {}, std::span(&gy, 1));
                                                 })});
  constexpr int length = 2000;
  const double chain = median_seconds([&] {
    Tensor y = x;
    for (int i = 0; i < length; ++i) y = y + b;
    grad(std::span(&y, 1), std::span(&x, 1), {}, std::span(&gy, 1));
  });
  report({.name = "add of 64 in a chain of 2000, forward+backward of one", .seconds = chain / length});
}

}  // namespace mora::bench
