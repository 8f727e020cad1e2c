#include "bench/bench.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <vector>

#include "engine/cuda.h"
#include "engine/random.h"
#include "kernels/copy.h"

namespace mora::bench {

std::span<const Subject> subjects() {
  static constexpr Subject list[] = {
      {.name = "gemm",
       .summary = "frozen linears: of MiniLM and SmolLM2 by oneDNN; on a card a Llama's by cuBLASLt",
       .on_card = true,
       .run = gemm},
      {.name = "adapters", .summary = "narrow products; LoRA and MoRA around a linear", .run = adapters},
      {.name = "experts", .summary = "mixtures of LoRA, two a token, and adaptive steps", .run = experts},
      {.name = "attention", .summary = "attention, forward and backward", .on_card = true, .run = attention},
      {.name = "elementwise",
       .summary = "activations, norms, softmax, cross-entropy",
       .on_card = true,
       .run = elementwise},
      {.name = "optimizer", .summary = "updates and norms of parameters", .on_card = true, .run = optimizer},
      {.name = "training",
       .summary = "steps of a Llama of 1.1 B parameters, LoRA on all linears",
       .on_processor = false,
       .on_card = true,
       .run = training},
      {.name = "overhead", .summary = "what an op costs besides its arithmetic", .run = overhead},
      {.name = "decode", .summary = "one token through SmolLM2's weights; with --model, generation", .run = decode},
      {.name = "tokenizer", .summary = "encoding", .needs_model = true, .needs_text = true, .run = tokenizer},
  };
  return list;
}

double median_seconds(FunctionRef<void()> run, const Inputs& in) {
  const auto time_of = [&](int64_t calls) {
    const auto all = [&] {
      for (int64_t i = 0; i < calls; ++i) run();
    };
    if (in.device != cpu) return cuda::seconds_of(all, in.device.index);
    const auto start = std::chrono::steady_clock::now();
    all();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  if (in.smallest) return time_of(1);
  time_of(2);
  const double together = in.device == cpu ? 0.25 : 0.05;
  const int64_t calls = std::max<int64_t>(1, int64_t(1e-3 / std::max(time_of(1), 1e-8)));
  std::vector<double> times;
  for (double total = 0; times.size() < 9 || (total < together && times.size() < 400);) {
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

Tensor normal_on(const Inputs& in, const Shape& shape, uint64_t seed, DType dtype) {
  constexpr int64_t drawn = 1 << 20;
  if (in.device == cpu || shape.numel() <= drawn) return normal(shape, seed, dtype).to(in.device);
  const Tensor some = normal({drawn}, seed, dtype);
  Tensor all = Tensor::empty(shape, dtype);
  auto* to = static_cast<std::byte*>(all.mutable_raw());
  for (size_t at = 0; at < all.bytes(); at += some.bytes())
    std::memcpy(to + at, some.raw(), std::min(some.bytes(), all.bytes() - at));
  return all.to(in.device);
}

void check_near(std::string_view what, double got, double expected, double tolerance) {
  require<Error>(std::abs(got - expected) <= tolerance * (1 + std::abs(expected)), "bench: {} is {}, expected {}", what,
                 got, expected);
}

void check_same(std::string_view what, const Tensor& got, const Tensor& expected) {
  const auto numbers = [](const Tensor& t) {
    Tensor wide = Tensor::empty(t.shape(), DType::f64);
    kernels::copy(t.to(cpu), wide);
    return wide;
  };
  invariant(got.shape() == expected.shape(), "bench: {} is {}, expected {}", what, got.shape(), expected.shape());
  const Tensor a = numbers(got), b = numbers(expected);
  double squares = 0;
  for (const double x : b.values<double>()) squares += x * x;
  const double scale = std::sqrt(squares / double(std::max<int64_t>(1, b.numel())));
  const double tolerance = expected.dtype() == DType::bf16 ? 3e-2 : expected.dtype() == DType::f16 ? 5e-3 : 2e-4;
  for (int64_t i = 0; i < a.numel(); ++i) {
    const double x = a.data<double>()[i], y = b.data<double>()[i];
    require<Error>(std::abs(x - y) <= tolerance * (scale + std::abs(y)), "bench: {}, element {} is {}, expected {}",
                   what, i, x, y);
  }
}

}  // namespace mora::bench
