// Activations, norms, softmax and cross-entropy through the tape, as a share of the bandwidth of the memory or cache
// that holds their tensors: the bytes that cannot be avoided (x read, y written; x or y and gy read, gx written) over
// the time, against a copy and an add of as many bytes.
#include <cmath>

#include "autograd/grad.h"
#include "autograd/ops/cross_entropy.h"
#include "autograd/ops/elementary.h"
#include "autograd/ops/norm.h"
#include "autograd/ops/softmax.h"
#include "bench/bench.h"
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

void measure(const Function& f, int64_t n, int64_t d, DType dtype, Report report) {
  const auto leaf_if = [&](const Tensor& t) { return f.trained ? leaf(t) : t; };
  const Tensor x = leaf(normal({n, d}, 1, dtype)), gy = normal({n, d}, 2, dtype);
  const Tensor w = leaf_if(normal({d}, 3)), b = leaf_if(normal({d}, 4));
  Tensors wanted{x};
  if (f.trained) wanted.insert(wanted.end(), {w, b});
  const int64_t bytes = n * d * int64_t(size_of(dtype));
  const auto add = [&](const char* pass, Traffic traffic, FunctionRef<void()> run) {
    const double seconds = median_seconds(run);
    report({.name = fmt::format("{} {}x{} {}, {}", f.name, n, d, name_of(dtype), pass),
            .seconds = seconds,
            .rate = double(moved(traffic, bytes)) / seconds / 1e9,
            .unit = "GB/s",
            .limit = bandwidth(traffic, bytes) / 1e9});
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

void measure_cross_entropy(int64_t n, int64_t v, DType dtype, Report report) {
  const Tensor x = leaf(normal({n, v}, 1, dtype)), gy = Tensor::from(std::vector<float>(size_t(n), 1.f), {n});
  const Tensor labels = Tensor::from(std::vector<int32_t>(size_t(n), 1), {n});
  const auto run = [&] {
    const Tensor loss = cross_entropy(x, labels);
    return grad(std::span(&loss, 1), std::span(&x, 1), {}, std::span(&gy, 1))[0];
  };
  if (dtype == DType::f32) {
    const float* p = x.data<float>();
    double sum = 0;
    for (int64_t i = 0; i < v; ++i) sum += std::exp(double(p[i]));
    check_near("cross_entropy's gradient", double(run().data<float>()[1]), std::exp(double(p[1])) / sum - 1, 1e-5);
  }
  const double seconds = median_seconds([&] { run(); });
  const int64_t bytes = x.numel() * int64_t(size_of(dtype));
  report({.name = fmt::format("cross_entropy {}x{} {}, forward+backward", n, v, name_of(dtype)),
          .seconds = seconds,
          .rate = double(moved(Traffic::loss, bytes)) / seconds / 1e9,
          .unit = "GB/s",
          .limit = bandwidth(Traffic::loss, bytes) / 1e9});
}

}  // namespace

void elementwise(const Inputs&, Report report) {
  for (const Function& f : functions) check(f, 64);
  for (DType dtype : {DType::f32, DType::bf16}) {
    for (const Function& f : functions) measure(f, 2048, 576, dtype, report);
    measure_cross_entropy(512, 49152, dtype, report);
  }
}

}  // namespace mora::bench
