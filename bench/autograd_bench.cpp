// What the tape costs: nanoseconds of ops so small that their arithmetic takes none. Target: a forward and backward of
// add on 64 elements in 450 ns.
#include <benchmark/benchmark.h>

#include <cstdio>
#include <cstdlib>

#include "autograd/grad.h"
#include "autograd/ops/arithmetic.h"

namespace {

using namespace mora;

Tensor filled(double value) {
  const Tensor t = Tensor::zeros({64});
  return full_like(t, value, t.shape());
}

void check() {
  const Tensor x[] = {leaf(filled(2)), leaf(filled(3))};
  const Tensor y = x[0] * x[1], gy = filled(1);
  const Tensors g = grad(std::span(&y, 1), x, {}, std::span(&gy, 1));
  if (g[0].data<float>()[63] == 3 && g[1].data<float>()[63] == 2) return;
  std::fprintf(stderr, "the gradient of a product is wrong\n");
  std::exit(1);
}

void forward(benchmark::State& state) {
  const Tensor a = filled(1), b = filled(2);
  for (auto _ : state) benchmark::DoNotOptimize(a + b);
}

void forward_recorded(benchmark::State& state) {
  const Tensor a = leaf(filled(1)), b = filled(2);
  for (auto _ : state) benchmark::DoNotOptimize(a + b);
}

void forward_backward(benchmark::State& state) {
  const Tensor a = leaf(filled(1)), b = filled(2), gy = filled(1);
  for (auto _ : state) {
    const Tensor y = a + b;
    benchmark::DoNotOptimize(grad(std::span(&y, 1), std::span(&a, 1), {}, std::span(&gy, 1)));
  }
}

// A chain of ops, the time of each.
void chain(benchmark::State& state) {
  constexpr int length = 1000;
  const Tensor a = leaf(filled(1)), b = filled(2), gy = filled(1);
  for (auto _ : state) {
    Tensor y = a;
    for (int i = 0; i < length; ++i) y = y + b;
    benchmark::DoNotOptimize(grad(std::span(&y, 1), std::span(&a, 1), {}, std::span(&gy, 1)));
  }
  state.counters["per_op"] =
      benchmark::Counter(length, benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

}  // namespace

int main(int argc, char** argv) {
  check();
  benchmark::RegisterBenchmark("add_forward/64", forward);
  benchmark::RegisterBenchmark("add_forward_recorded/64", forward_recorded);
  benchmark::RegisterBenchmark("add_forward_backward/64", forward_backward);
  benchmark::RegisterBenchmark("add_chain_of_1000/64", chain);
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
