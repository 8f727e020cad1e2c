// Activations, norms, softmax and cross-entropy through the tape, as a share of the bandwidth of the memory or cache
// that holds their tensors: the bytes that cannot be avoided (x read, y written; x or y and gy read, gx written) over
// the time, against a copy and an add of as many bytes. On a card the tensors are larger than any cache, and the limit
// is the driver's copy.
#include <cmath>

#include "autograd/grad.h"
#include "autograd/ops/cross_entropy.h"
#include "autograd/ops/elementary.h"
#include "autograd/ops/norm.h"
#include "autograd/ops/softmax.h"
#include "autograd/ops/swiglu.h"
#include "bench/bench.h"
#include "bench/card.h"
#include "bench/machine.h"

namespace mora::bench {
namespace {

struct Function {
  const char* name;
  Tensor (*apply)(const Tensor& x, const Tensor& w, const Tensor& b);
  int trained = 0;  // 1: w too, 2: w and b
};

constexpr Function functions[] = {
    {"gelu", [](const Tensor& x, const Tensor&, const Tensor&) { return gelu(x); }},
    {"gelu_tanh", [](const Tensor& x, const Tensor&, const Tensor&) { return gelu_tanh(x); }},
    {"silu", [](const Tensor& x, const Tensor&, const Tensor&) { return silu(x); }},
    {"softmax", [](const Tensor& x, const Tensor&, const Tensor&) { return softmax(x); }},
    {"layer_norm frozen", [](const Tensor& x, const Tensor& w, const Tensor& b) { return layer_norm(x, w, b, 1e-5); }},
    {"layer_norm", [](const Tensor& x, const Tensor& w, const Tensor& b) { return layer_norm(x, w, b, 1e-5); }, 2},
    {"rms_norm frozen", [](const Tensor& x, const Tensor& w, const Tensor&) { return rms_norm(x, w, 1e-5); }},
    {"rms_norm", [](const Tensor& x, const Tensor& w, const Tensor&) { return rms_norm(x, w, 1e-5); }, 1},
};

// Element 0 of a function of x, and of the gradient of its sum, against differences of the function itself.
void check(const Function& f, int64_t d) {
  const Tensor x = leaf(normal({1, d}, 1)), w = normal({d}, 2), b = normal({d}, 3), gy = normal({1, d}, 4);
  const auto value = [&](float shift) {
    Tensor moved = normal({1, d}, 1);
    moved.mutable_data<float>()[0] += shift;
    const Tensor y = f.apply(moved, w, b);
    double sum = 0;
    for (int64_t i = 0; i < d; ++i) sum += double(y.data<float>()[i]) * double(gy.data<float>()[i]);
    return sum;
  };
  const Tensor y = f.apply(x, w, b);
  const double slope = (value(0.02f) - value(-0.02f)) / 0.04;
  check_near(f.name, double(grad(std::span(&y, 1), std::span(&x, 1), {}, std::span(&gy, 1))[0].data<float>()[0]), slope,
             1e-2);
}

// x and what is trained of w and b.
Tensors leaves(const Function& f, const Tensor& x, const Tensor& w, const Tensor& b) {
  Tensors all{leaf(x)};
  if (f.trained > 0) all.push_back(leaf(w));
  if (f.trained > 1) all.push_back(leaf(b));
  return all;
}

Tensor apply_to(const Function& f, const Tensors& of, const Tensor& w, const Tensor& b) {
  return f.apply(of[0], f.trained > 0 ? of[1] : w, f.trained > 1 ? of[2] : b);
}

// y, and the gradients of the leaves.
Tensors outputs(const Function& f, const Tensor& x, const Tensor& w, const Tensor& b, const Tensor& gy) {
  const Tensors wanted = leaves(f, x, w, b);
  const Tensor y = apply_to(f, wanted, w, b);
  Tensors result = grad(std::span(&y, 1), wanted, {}, std::span(&gy, 1));
  result.insert(result.begin(), y.detach());
  return result;
}

// A few rows on the card as on the processor.
void check_on_card(const Function& f, int64_t n, int64_t d, DType dtype, Device card) {
  const Tensor x = normal({n, d}, 1, dtype), w = normal({d}, 2), b = normal({d}, 3), gy = normal({n, d}, 4, dtype);
  const Tensors expected = outputs(f, x, w, b, gy), got = outputs(f, x.to(card), w.to(card), b.to(card), gy.to(card));
  for (size_t i = 0; i < expected.size(); ++i)
    check_same(fmt::format("{} {}, output {}", f.name, name_of(dtype), i), got[i], expected[i]);
}

void measure(const Inputs& in, const Function& f, int64_t n, int64_t d, DType dtype, Report report) {
  const Tensor gy = normal_on(in, {n, d}, 2, dtype), w = normal_on(in, {d}, 3), b = normal_on(in, {d}, 4);
  const Tensors wanted = leaves(f, normal_on(in, {n, d}, 1, dtype), w, b);
  const int64_t bytes = n * d * int64_t(size_of(dtype));
  const auto add = [&](const char* pass, Traffic traffic, FunctionRef<void()> run) {
    const double seconds = median_seconds(run, in);
    report({.name = fmt::format("{} {}x{} {}, {}", f.name, n, d, name_of(dtype), pass),
            .seconds = seconds,
            .rate = double(moved(traffic, bytes)) / seconds / 1e9,
            .unit = "GB/s",
            .limit = traffic_limit(in, traffic, bytes)});
  };
  add("forward", Traffic::forward, [&] {
    const NoGrad no_grad;
    apply_to(f, wanted, w, b);
  });
  add("forward+backward", Traffic::forward_backward, [&] {
    const Tensor y = apply_to(f, wanted, w, b);
    grad(std::span(&y, 1), wanted, {}, std::span(&gy, 1));
  });
}

Tensor cross_entropy_gradient(const Tensor& x) {
  const Tensor labels = Tensor::from(std::vector<int32_t>(size_t(x.dim(0)), 1), {x.dim(0)}).to(x.device());
  const Tensor gy = Tensor::from(std::vector<float>(size_t(x.dim(0)), 1.f), {x.dim(0)}).to(x.device());
  const Tensor loss = cross_entropy(x, labels);
  return grad(std::span(&loss, 1), std::span(&x, 1), {}, std::span(&gy, 1))[0];
}

void measure_cross_entropy(const Inputs& in, int64_t n, int64_t v, DType dtype, Report report) {
  const Tensor few = leaf(normal({std::min<int64_t>(n, 16), v}, 1, dtype)), there = leaf(few.detach().to(in.device));
  if (in.device != cpu)
    check_same("cross_entropy's gradient", cross_entropy_gradient(there), cross_entropy_gradient(few));
  if (in.device == cpu && dtype == DType::f32) {
    const float* p = few.data<float>();
    double sum = 0;
    for (int64_t i = 0; i < v; ++i) sum += std::exp(double(p[i]));
    check_near("cross_entropy's gradient", double(cross_entropy_gradient(few).data<float>()[1]),
               std::exp(double(p[1])) / sum - 1, 1e-5);
  }
  const Tensor x = leaf(normal_on(in, {n, v}, 1, dtype));
  const double seconds = median_seconds([&] { cross_entropy_gradient(x); }, in);
  const int64_t bytes = x.numel() * int64_t(size_of(dtype));
  report({.name = fmt::format("cross_entropy {}x{} {}, forward+backward", n, v, name_of(dtype)),
          .seconds = seconds,
          .rate = double(moved(Traffic::loss, bytes)) / seconds / 1e9,
          .unit = "GB/s",
          .limit = traffic_limit(in, Traffic::loss, bytes)});
}

// gate and up read, y written; gate, up and gy read, both gradients written. Checked by the gradient of `up`.
void measure_swiglu(const Inputs& in, int64_t n, int64_t d, DType dtype, Report report) {
  const Tensors wanted{leaf(normal_on(in, {n, d}, 1, dtype)), leaf(normal_on(in, {n, d}, 3, dtype))};
  const Tensor gy = normal_on(in, {n, d}, 2, dtype);
  const auto run = [&] {
    const Tensor y = swiglu(wanted[0], wanted[1]);
    return grad(std::span(&y, 1), wanted, {}, std::span(&gy, 1));
  };
  if (in.device == cpu && dtype == DType::f32) {
    const double v = double(wanted[0].data<float>()[0]), g = double(gy.data<float>()[0]);
    check_near("swiglu's gradient", double(run()[1].data<float>()[0]), g * v / (1 + std::exp(-v)), 1e-5);
  }
  const double seconds = median_seconds([&] { run(); }, in);
  const int64_t bytes = 8 * n * d * int64_t(size_of(dtype));
  report({.name = fmt::format("swiglu {}x{} {}, forward+backward", n, d, name_of(dtype)),
          .seconds = seconds,
          .rate = double(bytes) / seconds / 1e9,
          .unit = "GB/s",
          .limit = traffic_limit(in, Traffic::forward_backward, bytes / 5)});
}

void on_card(const Inputs& in, Report report) {
  const int64_t n = in.smallest ? 16 : 8192, d = in.smallest ? 40 : 4096;
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    for (const Function& f : functions) {
      check_on_card(f, std::min<int64_t>(n, 16), d, dtype, in.device);
      measure(in, f, n, d, dtype, report);
    }
    measure_swiglu(in, n, d, dtype, report);
    measure_cross_entropy(in, n, d, dtype, report);
  }
}

}  // namespace

void elementwise(const Inputs& in, Report report) {
  if (in.device != cpu) return on_card(in, report);
  for (const Function& f : functions) check(f, 64);
  for (DType dtype : {DType::f32, DType::bf16}) {
    for (const Function& f : functions) measure(in, f, 2048, 576, dtype, report);
    measure_swiglu(in, 2048, 576, dtype, report);
    measure_cross_entropy(in, 512, 49152, dtype, report);
  }
}

}  // namespace mora::bench
