// Attention, forward and backward, as a share of the peak of its dtype: a forward has two products of (queries, keys,
// D), a backward five; hidden scores are not counted.
#include "autograd/ops/attention.h"

#include <cmath>

#include "autograd/grad.h"
#include "bench/bench.h"
#include "bench/machine.h"

namespace mora::bench {
namespace {

struct Workload {
  int64_t sequences, heads, kv_heads, length, dim;
  bool causal;
  DType dtype;

  double flops_of_product() const {
    const double pairs = double(length) * double(causal ? length + 1 : 2 * length) / 2;
    return 2 * double(sequences * heads * dim) * pairs;
  }
  std::string name() const {
    return fmt::format("{}x{}x{}x{}{}{} {}", sequences, heads, length, dim,
                       kv_heads == heads ? "" : fmt::format(" kv heads {}", kv_heads), causal ? " causal" : "",
                       name_of(dtype));
  }
};

constexpr Workload workloads[] = {
    {4, 9, 9, 512, 64, true, DType::f32},    {4, 9, 9, 512, 64, true, DType::bf16},
    {4, 9, 3, 512, 64, true, DType::f32},    {4, 9, 3, 512, 64, true, DType::bf16},
    {32, 12, 12, 25, 32, false, DType::f32}, {32, 12, 12, 128, 32, false, DType::f32},
    {1, 8, 2, 1024, 128, true, DType::f32},
};

// The last query of the first head, in f64, against y.
void check(const Workload& w, double scale, std::span<const Tensor> qkv, const Tensor& y) {
  const int64_t first = (w.sequences - 1) * w.length, last = w.sequences * w.length;
  const float* q = qkv[0].data<float>() + (last - 1) * w.heads * w.dim;
  const float *k = qkv[1].data<float>(), *v = qkv[2].data<float>();
  double sum = 0, expected = 0;
  for (int64_t m = first; m < last; ++m) {
    double score = 0;
    for (int64_t i = 0; i < w.dim; ++i) score += double(q[i]) * double(k[m * w.kv_heads * w.dim + i]);
    sum += std::exp(score * scale);
    expected += std::exp(score * scale) * double(v[m * w.kv_heads * w.dim]);
  }
  check_near("attention " + w.name(), double(y.data<float>()[(last - 1) * w.heads * w.dim]), expected / sum, 1e-4);
}

void measure(const Workload& w, Report report) {
  const int64_t tokens = w.sequences * w.length;
  const Shape q_shape{tokens, w.heads, w.dim}, kv_shape{tokens, w.kv_heads, w.dim};
  const Tensor qkv[] = {leaf(normal(q_shape, 1, w.dtype)), leaf(normal(kv_shape, 2, w.dtype)),
                        leaf(normal(kv_shape, 3, w.dtype))};
  const Tensor gy = normal(q_shape, 4, w.dtype);
  std::vector<int32_t> starts;
  for (int64_t b = 0; b <= w.sequences; ++b) starts.push_back(int32_t(b * w.length));
  const Tensor offsets = Tensor::from(starts, {w.sequences + 1});
  const kernels::AttentionShape shape{.scale = 1 / std::sqrt(double(w.dim)), .causal = w.causal};
  const auto forward = [&] { return mora::attention(qkv[0], qkv[1], qkv[2], offsets, offsets, shape); };
  if (w.dtype == DType::f32) check(w, shape.scale, qkv, forward());

  const auto add = [&](const char* pass, double products, FunctionRef<void()> run) {
    const double seconds = median_seconds(run);
    report({.name = fmt::format("{}, {}", w.name(), pass),
            .seconds = seconds,
            .rate = products * w.flops_of_product() / seconds / 1e9,
            .unit = "GFLOP/s",
            .limit = peak_flops(w.dtype) / 1e9});
  };
  add("forward", 2, [&] {
    const NoGrad no_grad;
    forward();
  });
  add("forward+backward", 7, [&] {
    const Tensor y = forward();
    grad(std::span(&y, 1), qkv, {}, std::span(&gy, 1));
  });
}

}  // namespace

void attention(const Inputs&, Report report) {
  for (const Workload& w : workloads) measure(w, report);
}

}  // namespace mora::bench
