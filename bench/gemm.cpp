// Frozen linears, y = x·Wᵀ and gx = gy·W, at the shapes of MiniLM and SmolLM2, as a share of the peak of their dtype.
// N tokens, W (out, in).
#include "bench/bench.h"
#include "bench/machine.h"
#include "kernels/matmul.h"

namespace mora::bench {
namespace {

struct Sizes {
  int64_t n, out, in;
};

constexpr Sizes sizes[] = {{512, 384, 384},  {512, 1536, 384},  {512, 384, 1536},  {509, 384, 384},
                           {2048, 576, 576}, {2048, 1536, 576}, {2048, 576, 1536}, {512, 49152, 576}};

// The last element of y = x·Wᵀ in f64.
double last_of_product(const Tensor& x, const Tensor& w) {
  const int64_t k = w.dim(1);
  const float *px = x.data<float>() + x.numel() - k, *pw = w.data<float>() + w.numel() - k;
  double sum = 0;
  for (int64_t i = 0; i < k; ++i) sum += double(px[i]) * double(pw[i]);
  return sum;
}

void measure(Sizes s, DType dtype, Report report) {
  const Tensor x = normal({s.n, s.in}, 1, dtype), w = normal({s.out, s.in}, 2, dtype);
  Tensor y = Tensor::empty({s.n, s.out}, dtype), gx = Tensor::empty({s.n, s.in}, dtype);
  const kernels::FrozenWeight frozen(w, {});
  kernels::linear(x, frozen, y);
  if (dtype == DType::f32)
    check_near("the last element of a linear", double(y.data<float>()[y.numel() - 1]), last_of_product(x, w), 1e-3);
  const auto add = [&](const char* pass, FunctionRef<void()> run) {
    const double seconds = median_seconds(run);
    report({.name = fmt::format("{} {}x{}x{} {}", pass, s.n, s.out, s.in, name_of(dtype)),
            .seconds = seconds,
            .rate = 2 * double(s.n * s.out * s.in) / seconds / 1e9,
            .unit = "GFLOP/s",
            .limit = peak_flops(dtype) / 1e9});
  };
  add("linear", [&] { kernels::linear(x, frozen, y); });
  add("linear_backward", [&] { kernels::linear_backward(y, frozen, gx); });
}

}  // namespace

void gemm(const Inputs&, Report report) {
  for (DType dtype : {DType::f32, DType::bf16})
    for (const Sizes& s : sizes) measure(s, dtype, report);
}

}  // namespace mora::bench
