// Attention, forward and backward, as a share of what the processor's multiply-adds could do: a forward has two
// products of (queries, keys, D), a backward five; hidden scores are not counted. Checked first against one query
// written out.
#include <benchmark/benchmark.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "engine/parallel.h"
#include "engine/random.h"
#include "kernels/attention.h"
#include "kernels/copy.h"
#include "peak.h"

namespace {

using namespace mora;

struct Workload {
  const char* name;
  int64_t sequences, length, heads, kv_heads, dim;
  bool causal;
  DType dtype;

  double products() const {  // multiply-adds of one product
    const double pairs = double(length) * double(causal ? length + 1 : 2 * length) / 2;
    return double(sequences * heads * dim) * pairs;
  }
};

constexpr Workload workloads[] = {
    {"smollm2_4x512", 4, 512, 9, 3, 64, true, DType::f32},
    {"smollm2_4x512_bf16", 4, 512, 9, 3, 64, true, DType::bf16},
    {"ungrouped_4x512", 4, 512, 9, 9, 64, true, DType::f32},
    {"minilm_32x25", 32, 25, 12, 12, 32, false, DType::f32},
    {"minilm_32x128", 32, 128, 12, 12, 32, false, DType::f32},
    {"llama_1x1024", 1, 1024, 8, 2, 128, true, DType::f32},
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
  Tensor q, k, v, gy, offsets, y, lse, gq, gk, gv;
  kernels::AttentionShape shape;

  explicit Problem(const Workload& workload) : w(workload) {
    const int64_t tokens = w.sequences * w.length;
    const Shape q_shape{tokens, w.heads, w.dim}, kv_shape{tokens, w.kv_heads, w.dim};
    q = normal(q_shape, 1, w.dtype);
    k = normal(kv_shape, 2, w.dtype);
    v = normal(kv_shape, 3, w.dtype);
    gy = normal(q_shape, 4, w.dtype);
    y = Tensor::zeros(q_shape, w.dtype);
    lse = Tensor::zeros({tokens, w.heads});
    gq = Tensor::zeros(q_shape, w.dtype);
    gk = Tensor::zeros(kv_shape, w.dtype);
    gv = Tensor::zeros(kv_shape, w.dtype);
    std::vector<int32_t> starts;
    for (int64_t b = 0; b <= w.sequences; ++b) starts.push_back(int32_t(b * w.length));
    offsets = Tensor::from(starts, {int64_t(starts.size())});
    shape = {.scale = 1 / std::sqrt(double(w.dim)), .causal = w.causal};
  }
  void forward() { kernels::attention(q, k, v, offsets, offsets, y, lse, shape); }
  void backward() { kernels::attention_backward(q, k, v, offsets, offsets, y, lse, gy, gq, gk, gv, shape); }

  // The last query of the first head, in f64, from f32 tensors.
  void check() {
    forward();
    if (w.dtype != DType::f32) return;
    const int64_t first = (w.sequences - 1) * w.length, last = w.sequences * w.length;
    const float *pq = q.data<float>() + (last - 1) * w.heads * w.dim, *pk = k.data<float>(), *pv = v.data<float>();
    double sum = 0, expected = 0;
    for (int64_t m = first; m < last; ++m) {
      double score = 0;
      for (int64_t i = 0; i < w.dim; ++i) score += double(pq[i]) * double(pk[m * w.kv_heads * w.dim + i]);
      sum += std::exp(score * shape.scale);
      expected += std::exp(score * shape.scale) * double(pv[m * w.kv_heads * w.dim]);
    }
    const double got = double(y.data<float>()[(last - 1) * w.heads * w.dim]);
    if (std::abs(got - expected / sum) < 1e-5) return;
    std::fprintf(stderr, "%s: y is %g, expected %g\n", w.name, got, expected / sum);
    std::exit(1);
  }
};

// Times `run` and reports it as a share of the peak.
template <class F>
void measure(benchmark::State& state, double multiply_adds, double peak, F run) {
  const auto start = std::chrono::steady_clock::now();
  for (auto _ : state) run();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  state.counters["of_peak"] = multiply_adds * double(state.iterations()) / (peak * 1e9 * seconds);
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  const double peak = bench::peak_fma(threads());
  std::printf("%d threads, peak %.0f billion multiply-adds a second\n", threads(), peak);
  for (const Workload& w : workloads) {
    Problem(w).check();
    const auto add = [&](const char* pass, auto run, double products) {
      benchmark::RegisterBenchmark((std::string(w.name) + "/" + pass).c_str(),
                                   [=](benchmark::State& state) {
                                     Problem problem(w);
                                     problem.forward();
                                     measure(state, products * w.products(), peak, [&] { run(problem); });
                                   })
          ->UseRealTime()
          ->Unit(benchmark::kMillisecond);
    };
    add(
        "forward", [](Problem& p) { p.forward(); }, 2);
    add(
        "backward", [](Problem& p) { p.backward(); }, 5);
    add(
        "both",
        [](Problem& p) {
          p.forward();
          p.backward();
        },
        7);
  }
  benchmark::RunSpecifiedBenchmarks();
}
