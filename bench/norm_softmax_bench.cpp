// Norms, softmax and cross-entropy as a share of the memory's speed: the bytes a perfect kernel moves, against a plain
// copy of as many bytes measured in the same run. A row of sums is checked first.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "engine/parallel.h"
#include "engine/random.h"
#include "kernels/norm.h"
#include "kernels/softmax.h"

namespace {

using namespace mora;

Tensor normal(const Shape& shape, uint64_t seed) {
  const RandomStream stream({.seed = seed, .purpose = Purpose::probe});
  Tensor t = Tensor::empty(shape);
  float* p = t.mutable_data<float>();
  for (int64_t i = 0; i < shape.numel(); ++i) p[i] = float(stream.normal(uint64_t(i)));
  return t;
}

// Bytes a second, read and written, of copying `bytes` on all threads; the best of ten.
double copy_speed(int64_t bytes) {
  const Tensor from = Tensor::zeros({bytes}, DType::u8);
  Tensor to = Tensor::zeros({bytes}, DType::u8);
  auto* target = static_cast<std::byte*>(to.mutable_raw());
  const auto* source = static_cast<const std::byte*>(from.raw());
  double best = 0;
  for (int i = 0; i < 10; ++i) {
    const auto start = std::chrono::steady_clock::now();
    parallel_for(bytes, 4096,
                 [&](int64_t begin, int64_t end) { std::memcpy(target + begin, source + begin, size_t(end - begin)); });
    best = std::max(
        best, 2 * double(bytes) / std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return best;
}

void require_near(const char* what, double got, double expected) {
  if (std::abs(got - expected) <= 1e-4 * (1 + std::abs(expected))) return;
  std::fprintf(stderr, "%s: %g, expected %g\n", what, got, expected);
  std::exit(1);
}

// Registers `run`, which moves `tensors` times the bytes of an (n, d) f32 tensor.
template <class F>
void add(const std::string& name, int64_t n, int64_t d, double tensors, F run) {
  benchmark::RegisterBenchmark((name + "/" + std::to_string(n) + "x" + std::to_string(d)).c_str(),
                               [=](benchmark::State& state) mutable {
                                 const auto start = std::chrono::steady_clock::now();
                                 for (auto _ : state) run();
                                 const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
                                 const double bytes = tensors * 4 * double(n * d) * double(state.iterations());
                                 state.counters["of_copy"] = bytes / seconds.count() / copy_speed(4 * n * d);
                               })
      ->UseRealTime()
      ->Unit(benchmark::kMicrosecond);
}

void add_norms(int64_t n, int64_t d) {
  const Tensor x = normal({n, d}, 1), gy = normal({n, d}, 2), w = normal({d}, 3), b = normal({d}, 4);
  Tensor y = Tensor::empty({n, d}), gx = Tensor::empty({n, d}), gw = Tensor::empty({d}), gb = Tensor::empty({d});
  Tensor mean = Tensor::empty({n}), rstd = Tensor::empty({n});
  kernels::layer_norm(x, w, b, y, mean, rstd, 1e-5);
  double sum = 0;
  for (int64_t i = 0; i < d; ++i) sum += double(x.data<float>()[i]);
  require_near("layer_norm's mean", double(mean.data<float>()[0]), sum / double(d));
  add("layer_norm", n, d, 2, [=]() mutable { kernels::layer_norm(x, w, b, y, mean, rstd, 1e-5); });
  add("layer_norm_backward", n, d, 3,
      [=]() mutable { kernels::layer_norm_backward(x, w, mean, rstd, gy, gx, gw, gb); });
  Tensor none;
  add("layer_norm_backward_frozen", n, d, 3,
      [=]() mutable { kernels::layer_norm_backward(x, w, mean, rstd, gy, gx, none, none); });
  add("rms_norm", n, d, 2, [=]() mutable { kernels::rms_norm(x, w, y, rstd, 1e-5); });
}

void add_softmax(int64_t n, int64_t v) {
  const Tensor x = normal({n, v}, 1);
  Tensor y = Tensor::empty({n, v}), gx = Tensor::empty({n, v});
  const Tensor labels = Tensor::zeros({n}, DType::i32), gloss = normal({n}, 2);
  Tensor loss = Tensor::empty({n}), lse = Tensor::empty({n});
  kernels::softmax(x, y);
  double sum = 0;
  for (int64_t i = 0; i < v; ++i) sum += double(y.data<float>()[i]);
  require_near("a softmax's sum", sum, 1);
  kernels::cross_entropy(x, labels, loss, lse);
  require_near("cross_entropy", double(loss.data<float>()[0]), -std::log(double(y.data<float>()[0])));
  add("softmax", n, v, 2, [=]() mutable { kernels::softmax(x, y); });
  add("softmax_backward", n, v, 3, [=]() mutable { kernels::softmax_backward(y, x, gx); });
  add("cross_entropy", n, v, 1, [=]() mutable { kernels::cross_entropy(x, labels, loss, lse); });
  add("cross_entropy_backward", n, v, 2, [=]() mutable { kernels::cross_entropy_backward(x, labels, lse, gloss, gx); });
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  for (auto [n, d] : {std::pair<int64_t, int64_t>{800, 384}, {2048, 576}, {8192, 2048}}) add_norms(n, d);
  for (auto [n, v] : {std::pair<int64_t, int64_t>{1, 49152}, {256, 49152}, {32, 2}}) add_softmax(n, v);
  benchmark::RunSpecifiedBenchmarks();
}
