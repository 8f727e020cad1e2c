// What an adapter of rank r costs beside its frozen linear, forward and backward, on MiniLM's sizes: 512 tokens through
// 384 → 1536. `adapter_share` is the adapter's time over the whole; it falls with the rank that AdaLoRA leaves.
#include <benchmark/benchmark.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "autograd/grad.h"
#include "autograd/ops/adapted_linear.h"

namespace {

using namespace mora;

constexpr int64_t tokens = 512, in = 384, out = 1536;

Tensor ramp(const Shape& shape, float scale) {
  std::vector<float> values(size_t(shape.numel()));
  for (size_t i = 0; i < values.size(); ++i) values[i] = scale * (float(i * 2654435761U % 1024) / 512 - 1);
  return Tensor::from(values, shape);
}

const ops::FrozenWeightPtr& weight() {
  static const ops::FrozenWeightPtr w =
      std::make_shared<const kernels::FrozenWeight>(ramp({out, in}, 0.05F), Tensor::zeros({out}));
  return w;
}

// Seconds of a forward and backward; rank 0 is the frozen linear alone.
double step(const Tensor& x, const Tensor& a, const Tensor& b, const Tensor& gy) {
  const auto start = std::chrono::steady_clock::now();
  if (a.defined()) {
    const Tensor y = lora_linear(x, weight(), a, b, 1), inputs[] = {x, a, b};
    benchmark::DoNotOptimize(grad(std::span(&y, 1), inputs, {}, std::span(&gy, 1)));
  } else {
    const Tensor y = linear(x, weight());
    benchmark::DoNotOptimize(grad(std::span(&y, 1), std::span(&x, 1), {}, std::span(&gy, 1)));
  }
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void adapted(benchmark::State& state) {
  const int64_t rank = state.range(0);
  const Tensor x = leaf(ramp({tokens, in}, 1)), gy = ramp({tokens, out}, 1);
  const Tensor a = leaf(ramp({rank, in}, 0.1F)), b = leaf(ramp({out, rank}, 0.1F));
  double whole = 0, frozen = 0;
  for (auto _ : state) {  // one after the other, so that both see the same machine
    frozen += step(x, {}, {}, gy);
    const double seconds = step(x, a, b, gy);
    whole += seconds;
    state.SetIterationTime(seconds);
  }
  state.counters["adapter_share"] = (whole - frozen) / whole;
}

void check() {
  const Tensor x = ramp({2, in}, 1), b = Tensor::zeros({out, 4});
  const Tensor y = lora_linear(x, weight(), ramp({4, in}, 1), b, 1), expected = linear(x, weight());
  for (int64_t i = 0; i < y.numel(); ++i) {
    if (y.data<float>()[i] == expected.data<float>()[i]) continue;
    std::fprintf(stderr, "an adapter with B = 0 changes the linear\n");
    std::exit(1);
  }
}

}  // namespace

int main(int argc, char** argv) {
  check();
  benchmark::RegisterBenchmark("lora_linear_step", adapted)->Arg(4)->Arg(12)->UseManualTime();
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
