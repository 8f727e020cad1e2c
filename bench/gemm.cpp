// Frozen linears, y = x·Wᵀ and gx = gy·W, at the shapes of MiniLM and SmolLM2, as a share of the peak of their dtype;
// on a card at those of a Llama of 1.1 B parameters with its LoRA, as a share of the rate of products of large
// matrices. N tokens, W (out, in).
#include "bench/bench.h"
#include "bench/card.h"
#include "kernels/matmul.h"

namespace mora::bench {
namespace {

struct Sizes {
  int64_t n, out, in;
};

constexpr Sizes sizes[] = {{512, 384, 384},  {512, 1536, 384},  {512, 384, 1536},  {509, 384, 384},
                           {2048, 576, 576}, {2048, 1536, 576}, {2048, 576, 1536}, {512, 49152, 576}};
constexpr Sizes on_card[] = {{16384, 2048, 2048}, {16384, 256, 2048}, {16384, 5632, 2048}, {16384, 2048, 5632},
                             {2048, 2048, 2048},  {2048, 5632, 2048}, {2048, 2048, 5632},  {2048, 32000, 2048},
                             {16384, 16, 2048},   {16384, 2048, 16}};

// The last element of y = x·Wᵀ in f64.
double last_of_product(const Tensor& x, const Tensor& w) {
  const int64_t k = w.dim(1);
  const float *px = x.data<float>() + x.numel() - k, *pw = w.data<float>() + w.numel() - k;
  double sum = 0;
  for (int64_t i = 0; i < k; ++i) sum += double(px[i]) * double(pw[i]);
  return sum;
}

// A few rows on the card as on the processor.
void check_on_card(Sizes s, const Tensor& x, const kernels::FrozenWeight& frozen) {
  const int64_t n = std::min<int64_t>(s.n, 16);
  const auto both = [&](const Tensor& rows) {
    Tensor y = Tensor::empty({n, s.out}, rows.dtype(), rows.device()), gx = Tensor::empty(rows.meta());
    kernels::linear(rows, frozen, y);
    kernels::linear_backward(y, frozen, gx);
    return std::pair(y, gx);
  };
  const Tensor rows = x.alias({n, s.in}, x.strides(), 0);
  const auto got = both(rows), expected = both(rows.to(cpu));
  check_same("a linear", got.first, expected.first);
  check_same("a linear's gradient", got.second, expected.second);
}

void measure(Sizes s, DType dtype, const Inputs& in, Report report) {
  const Tensor x = normal_on(in, {s.n, s.in}, 1, dtype), w = normal_on(in, {s.out, s.in}, 2, dtype).to(cpu);
  Tensor y = Tensor::empty({s.n, s.out}, dtype, in.device), gx = Tensor::empty({s.n, s.in}, dtype, in.device);
  const kernels::FrozenWeight frozen(w, {});
  kernels::linear(x, frozen, y);
  if (in.device != cpu)
    check_on_card(s, x, frozen);
  else if (dtype == DType::f32)
    check_near("the last element of a linear", double(y.data<float>()[y.numel() - 1]), last_of_product(x, w), 1e-3);
  const auto add = [&](const char* pass, FunctionRef<void()> run) {
    report(row_of_products(in, fmt::format("{} {}x{}x{} {}", pass, s.n, s.out, s.in, name_of(dtype)),
                           2 * double(s.n * s.out * s.in), median_seconds(run, in), dtype));
  };
  add("linear", [&] { kernels::linear(x, frozen, y); });
  add("linear_backward", [&] { kernels::linear_backward(y, frozen, gx); });
}

}  // namespace

void gemm(const Inputs& in, Report report) {
  if (in.smallest) return measure({24, 16, 8}, DType::bf16, in, report);
  if (in.device != cpu) {
    for (const Sizes& s : on_card) measure(s, DType::bf16, in, report);
    for (const DType dtype : {DType::f16, DType::f32}) measure(on_card[0], dtype, in, report);
    return;
  }
  for (DType dtype : {DType::f32, DType::bf16})
    for (const Sizes& s : sizes) measure(s, dtype, in, report);
}

}  // namespace mora::bench
