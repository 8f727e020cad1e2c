#include "bench/bench.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <vector>

#include "engine/random.h"
#include "kernels/copy.h"

namespace mora::bench {

std::span<const Subject> subjects() {
  static constexpr Subject list[] = {
      {.name = "gemm", .summary = "frozen linears of MiniLM and SmolLM2, by oneDNN", .run = gemm},
      {.name = "adapters", .summary = "narrow products; LoRA and MoRA around a linear", .run = adapters},
      {.name = "experts", .summary = "mixtures of LoRA, two a token, and adaptive steps", .run = experts},
      {.name = "attention", .summary = "attention, forward and backward", .run = attention},
      {.name = "elementwise", .summary = "activations, norms, softmax, cross-entropy", .run = elementwise},
      {.name = "overhead", .summary = "what an op costs besides its arithmetic", .run = overhead},
      {.name = "decode", .summary = "one token through SmolLM2's weights; with --model, generation", .run = decode},
      {.name = "tokenizer", .summary = "encoding", .needs_model = true, .needs_text = true, .run = tokenizer},
  };
  return list;
}

double median_seconds(FunctionRef<void()> run) {
  const auto time_of = [&](int64_t calls) {
    const auto start = std::chrono::steady_clock::now();
    for (int64_t i = 0; i < calls; ++i) run();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  time_of(2);
  const int64_t calls = std::max<int64_t>(1, int64_t(1e-3 / std::max(time_of(1), 1e-8)));
  std::vector<double> times;
  for (double total = 0; times.size() < 9 || (total < 0.25 && times.size() < 400);) {
    times.push_back(time_of(calls));
    total += times.back();
  }
  std::ranges::nth_element(times, times.begin() + int64_t(times.size() / 2));
  return times[times.size() / 2] / double(calls);
}

Tensor normal(const Shape& shape, uint64_t seed, DType dtype) {
  const RandomStream stream({.seed = seed, .purpose = Purpose::probe});
  Tensor numbers = Tensor::empty(shape);
  float* p = numbers.mutable_data<float>();
  for (int64_t i = 0; i < shape.numel(); ++i) p[i] = float(stream.normal(uint64_t(i)));
  if (dtype == DType::f32) return numbers;
  Tensor t = Tensor::empty(shape, dtype);
  kernels::copy(numbers, t);
  return t;
}

void check_near(std::string_view what, double got, double expected, double tolerance) {
  require<Error>(std::abs(got - expected) <= tolerance * (1 + std::abs(expected)), "bench: {} is {}, expected {}", what,
                 got, expected);
}

}  // namespace mora::bench
