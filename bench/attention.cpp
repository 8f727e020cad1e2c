// Attention, forward and backward, as a share of the peak of its dtype, on a card of the rate of its products of large
// matrices: a forward has two products of (queries, keys, D), a backward five; hidden scores are not counted. On a card
// cuDNN's attention is timed as well, where it has one.
#include "autograd/ops/attention.h"

#include <cmath>

#include "autograd/grad.h"
#include "bench/bench.h"
#include "bench/card.h"
#include "kernels/cuda/attention_path.h"

namespace mora::bench {
namespace {

using kernels::cuda::AttentionPath;
using kernels::cuda::ScopedAttentionPath;

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
// Of a Llama of 1.1 B parameters; then each head size that has kernels of its own, and one that has not.
constexpr Workload on_card[] = {
    {8, 32, 4, 2048, 64, true, DType::bf16},    {1, 32, 4, 2048, 64, true, DType::bf16},
    {8, 32, 32, 2048, 64, false, DType::bf16},  {4, 16, 16, 4096, 80, true, DType::bf16},
    {4, 16, 16, 4096, 96, true, DType::bf16},   {4, 16, 16, 4096, 128, true, DType::bf16},
    {4, 16, 16, 4096, 128, false, DType::bf16}, {4, 16, 16, 4096, 128, true, DType::f16},
    {64, 12, 12, 128, 32, false, DType::bf16},  {2, 8, 8, 2048, 64, true, DType::f32},
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

struct Problem {
  Tensors qkv;
  Tensor gy;
  Indices offsets;
  kernels::AttentionShape shape;

  Problem(const Workload& w, const Inputs& in) {
    const int64_t tokens = w.sequences * w.length;
    const Shape q_shape{tokens, w.heads, w.dim}, kv_shape{tokens, w.kv_heads, w.dim};
    qkv = {leaf(normal_on(in, q_shape, 1, w.dtype)), leaf(normal_on(in, kv_shape, 2, w.dtype)),
           leaf(normal_on(in, kv_shape, 3, w.dtype))};
    gy = normal_on(in, q_shape, 4, w.dtype);
    std::vector<int32_t> starts;
    for (int64_t b = 0; b <= w.sequences; ++b) starts.push_back(int32_t(b * w.length));
    offsets = Indices(Tensor::from(starts, {w.sequences + 1})).to(in.device);
    shape = {.scale = 1 / std::sqrt(double(w.dim)), .causal = w.causal};
  }
  Tensor forward() const { return mora::attention(qkv[0], qkv[1], qkv[2], offsets, offsets, shape); }
  Tensors backward(const Tensor& y) const { return grad(std::span(&y, 1), qkv, {}, std::span(&gy, 1)); }
};

// A short sequence on the card as on the processor.
void check_on_card(Workload w, const Inputs& in) {
  w.sequences = 1;
  w.length = std::min<int64_t>(w.length, 200);
  const Problem here(w, {}), there(w, in);
  const Tensor y = here.forward(), y_there = there.forward();
  const Tensors g = here.backward(y), g_there = there.backward(y_there);
  check_same("attention " + w.name(), y_there.detach(), y.detach());
  for (size_t i = 0; i < g.size(); ++i)
    check_same(fmt::format("attention {}, gradient {}", w.name(), i), g_there[i], g[i]);
}

struct Pass {
  std::string_view name;
  double products;
  void (*run)(const Problem& problem);
};
constexpr Pass passes[] = {
    {"forward", 2,
     [](const Problem& problem) {
       const NoGrad no_grad;
       problem.forward();
     }},
    {"forward+backward", 7, [](const Problem& problem) { problem.backward(problem.forward()); }},
};

Row timed(const Problem& problem, const Workload& w, const Pass& pass, const Inputs& in) {
  const double seconds = median_seconds([&] { pass.run(problem); }, in);
  return row_of_products(in, fmt::format("{}, {}", w.name(), pass.name), pass.products * w.flops_of_product(), seconds,
                         w.dtype);
}

// cuDNN's of the problem; undefined where it has none.
Tensor by_cudnn(const Problem& problem) {
  const ScopedAttentionPath scope(AttentionPath::cudnn);
  try {
    return problem.forward();
  } catch (const DeviceError&) {
    return Tensor();
  }
}

// Ours, and where cuDNN has such an attention, its own and what is chosen of the two, each set against cuDNN's.
void measure_on_card(const Problem& problem, const Workload& w, const Inputs& in, Report report) {
  check_on_card(w, in);
  const Tensor theirs = by_cudnn(problem);
  if (theirs.defined()) {
    const ScopedAttentionPath scope(AttentionPath::cudnn);
    check_on_card(w, in);
  }
  const auto timed_by = [&](AttentionPath path, const Pass& pass, std::string_view name) {
    const ScopedAttentionPath scope(path);
    Row row = timed(problem, w, pass, in);
    row.name += name;
    return row;
  };
  const ScopedAttentionPath scope(AttentionPath::own);
  if (theirs.defined()) check_same(w.name() + " by cuDNN", theirs.detach(), problem.forward().detach());
  for (const Pass& pass : passes) {
    Row ours = timed_by(AttentionPath::own, pass, "");
    report(ours);
    if (!theirs.defined()) continue;
    const Row cudnn = timed_by(AttentionPath::cudnn, pass, " by cuDNN");
    report(cudnn);
    ours.name += ", ours beside cuDNN's";
    ours.limit = cudnn.rate;
    report(ours);
    Row chosen = timed_by(AttentionPath::fastest, pass, ", chosen beside cuDNN's");
    chosen.limit = cudnn.rate;
    report(chosen);
  }
}

void measure(const Workload& w, const Inputs& in, Report report) {
  const Problem problem(w, in);
  if (in.device != cpu) return measure_on_card(problem, w, in, report);
  if (w.dtype == DType::f32) check(w, problem.shape.scale, problem.qkv, problem.forward());
  for (const Pass& pass : passes) report(timed(problem, w, pass, in));
}

}  // namespace

void attention(const Inputs& in, Report report) {
  if (in.smallest) return measure({2, 4, 2, 40, 64, true, DType::bf16}, in, report);
  if (in.device != cpu) {
    for (const Workload& w : on_card) measure(w, in, report);
  } else {
    for (const Workload& w : workloads) measure(w, in, report);
  }
}

}  // namespace mora::bench
