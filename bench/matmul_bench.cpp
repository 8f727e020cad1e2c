// Matrix products as a share of what the processor's multiply-adds could do: frozen linears at a transformer's shapes,
// and the narrow products of adapters. N tokens, d × k weights, rank r. One element of each is checked first, in f64.
#include <benchmark/benchmark.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "engine/parallel.h"
#include "engine/random.h"
#include "kernels/copy.h"
#include "kernels/matmul.h"
#include "peak.h"

namespace {

using namespace mora;

struct Workload {
  const char* name;
  int64_t m, n, k;
  kernels::MatmulShape shape;
  bool frozen = false;  // y = x·Wᵀ by a packed W
};

const Workload workloads[] = {
    {"linear/minilm_square", 512, 384, 384, {.transpose_b = true}, true},
    {"linear/minilm_up", 512, 1536, 384, {.transpose_b = true}, true},
    {"linear/minilm_down", 512, 384, 1536, {.transpose_b = true}, true},
    {"linear/minilm_odd", 509, 384, 384, {.transpose_b = true}, true},
    {"linear/smollm2_square", 2048, 576, 576, {.transpose_b = true}, true},
    {"linear/smollm2_up", 2048, 1536, 576, {.transpose_b = true}, true},
    {"linear/smollm2_down", 2048, 576, 1536, {.transpose_b = true}, true},
    {"lora/h=x.At", 512, 8, 384, {.transpose_b = true}},
    {"lora/y+=h.Bt", 512, 384, 8, {.transpose_b = true, .accumulate = true}},
    {"lora/gB=gyt.h", 384, 8, 512, {.transpose_a = true}},
    {"lora/gh=gy.B", 512, 8, 384, {}},
    {"lora/gA=ght.x", 8, 384, 512, {.transpose_a = true}},
    {"lora/gx+=gh.A", 512, 384, 8, {.accumulate = true}},
    {"mora/z=s.Mt", 512, 78, 78, {.transpose_b = true}},
    {"mora/gM=gzt.s", 78, 78, 512, {.transpose_a = true}},
};

Tensor normal(const Shape& shape, uint64_t seed, DType dtype) {
  const RandomStream stream({.seed = seed, .purpose = Purpose::probe});
  Tensor numbers = Tensor::empty(shape);
  float* p = numbers.mutable_data<float>();
  for (int64_t i = 0; i < shape.numel(); ++i) p[i] = float(stream.normal(uint64_t(i)));
  Tensor t = Tensor::empty(shape, dtype);
  kernels::copy(numbers, t);
  return t;
}

struct Problem {
  Workload w;
  Tensor a, b, y;
  kernels::FrozenWeight weight;

  Problem(const Workload& workload, DType dtype)
      : w(workload),
        a(normal(w.shape.transpose_a ? Shape{w.k, w.m} : Shape{w.m, w.k}, 1, dtype)),
        b(normal(w.shape.transpose_b ? Shape{w.n, w.k} : Shape{w.k, w.n}, 2, dtype)),
        y(Tensor::zeros({w.m, w.n}, dtype)),
        weight(b, {}) {}
  void run() { w.frozen ? kernels::linear(a, weight, y) : kernels::matmul(a, b, y, w.shape); }

  // The last element.
  void check() {
    run();
    const float *pa = a.data<float>(), *pb = b.data<float>();
    double expected = 0;
    for (int64_t k = 0; k < w.k; ++k)
      expected += double(pa[w.shape.transpose_a ? k * w.m + w.m - 1 : (w.m - 1) * w.k + k]) *
                  double(pb[w.shape.transpose_b ? (w.n - 1) * w.k + k : k * w.n + w.n - 1]);
    const double got = double(y.data<float>()[w.m * w.n - 1]);
    if (std::abs(got - expected) < 1e-5 * double(w.k)) return;
    std::fprintf(stderr, "%s: y is %g, expected %g\n", w.name, got, expected);
    std::exit(1);
  }
};

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  const double peak = bench::peak_fma(threads());
  std::printf("%d threads, peak %.0f billion f32 multiply-adds a second; bf16 products are %s\n", threads(), peak,
              kernels::bf16_products() == kernels::Bf16Products::native ? "native" : "widened");
  for (const Workload& w : workloads) {
    Problem(w, DType::f32).check();
    for (DType dtype : {DType::f32, DType::bf16})
      benchmark::RegisterBenchmark((std::string(w.name) + "/" + std::string(name_of(dtype))).c_str(),
                                   [=, &w](benchmark::State& state) {
                                     Problem problem(w, dtype);
                                     problem.run();
                                     for (auto _ : state) problem.run();
                                     state.counters["of_peak"] = benchmark::Counter(
                                         double(w.m * w.n * w.k) * double(state.iterations()) / (peak * 1e9),
                                         benchmark::Counter::kIsRate);
                                   })
          ->UseRealTime()
          ->Unit(benchmark::kMicrosecond);
  }
  benchmark::RunSpecifiedBenchmarks();
}
