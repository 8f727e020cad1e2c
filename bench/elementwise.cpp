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
#include "bench/bench.h"
#include "bench/card.h"
#include "bench/machine.h"

namespace mora::bench {
namespace {

struct Function {
  const char* name;
  Tensor (*apply)(const Tensor& x, const Tensor& w, const Tensor& b);
  bool trained = false;  // w and b too
};

constexpr Function functions[] = {
    {"gelu", [](const Tensor& x, const Tensor&, const Tensor&) { return gelu(x); }},
    {"gelu_tanh", [](const Tensor& x, const Tensor&, const Tensor&) { return gelu_tanh(x); }},
    {"silu", [](const Tensor& x, const Tensor&, const Tensor&) { return silu(x); }},
    {"softmax", [](const Tensor& x, const Tensor&, const Tensor&) { return softmax(x); }},
    {"layer_norm frozen", [](const Tensor& x, const Tensor& w, const Tensor& b) { return layer_norm(x, w, b, 1e-5); }},
    {"layer_norm", [](const Tensor& x, const Tensor& w, const Tensor& b) { return layer_norm(x, w, b, 1e-5); }, true},
    {"rms_norm frozen", [](const Tensor& x, const Tensor& w, const Tensor&) { return rms_norm(x, w, 1e-5); }},
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

// y, and the gradients of x and of what is trained.
Tensors outputs(const Function& f, const Tensor& x, const Tensor& w, const Tensor& b, const Tensor& gy) {
  Tensors wanted{leaf(x)};
  if (f.trained) wanted.insert(wanted.end(), {leaf(w), leaf(b)});
  const Tensor y = f.trained ? f.apply(wanted[0], wanted[1], wanted[2]) : f.apply(wanted[0], w, b);
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

double limit(const Inputs& in, Traffic traffic, int64_t bytes) {
  return (in.device == cpu ? bandwidth(traffic, bytes) : copy_bandwidth(in)) / 1e9;
}

void measure(const Inputs& in, const Function& f, int64_t n, int64_t d, DType dtype, Report report) {
  const auto leaf_if = [&](const Tensor& t) { return f.trained ? leaf(t) : t; };
  const Tensor x = leaf(normal_on(in, {n, d}, 1, dtype)), gy = normal_on(in, {n, d}, 2, dtype);
  const Tensor w = leaf_if(normal_on(in, {d}, 3)), b = leaf_if(normal_on(in, {d}, 4));
  Tensors wanted{x};
  if (f.trained) wanted.insert(wanted.end(), {w, b});
  const int64_t bytes = n * d * int64_t(size_of(dtype));
  const auto add = [&](const char* pass, Traffic traffic, FunctionRef<void()> run) {
    const double seconds = median_seconds(run, in);
    report({.name = fmt::format("{} {}x{} {}, {}", f.name, n, d, name_of(dtype), pass),
            .seconds = seconds,
            .rate = double(moved(traffic, bytes)) / seconds / 1e9,
            .unit = "GB/s",
            .limit = limit(in, traffic, bytes)});
  };
  add("forward", Traffic::forward, [&] {
    const NoGrad no_grad;
    f.apply(x, w, b);
  });
  add("forward+backward", Traffic::forward_backward, [&] {
    const Tensor y = f.apply(x, w, b);
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
          .limit = limit(in, Traffic::loss, bytes)});
}

void on_card(const Inputs& in, Report report) {
  const int64_t n = in.smallest ? 16 : 8192, d = in.smallest ? 40 : 4096;
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    for (const Function& f : functions) {
      check_on_card(f, std::min<int64_t>(n, 16), d, dtype, in.device);
      measure(in, f, n, d, dtype, report);
    }
    measure_cross_entropy(in, n, d, dtype, report);
  }
}

}  // namespace

void elementwise(const Inputs& in, Report report) {
  if (in.device != cpu) return on_card(in, report);
  for (const Function& f : functions) check(f, 64);
  for (DType dtype : {DType::f32, DType::bf16}) {
    for (const Function& f : functions) measure(in, f, 2048, 576, dtype, report);
    measure_cross_entropy(in, 512, 49152, dtype, report);
  }
}

}  // namespace mora::bench
