#include "autograd/gradcheck.h"

#include <cmath>

#include "autograd/ops/arithmetic.h"
#include "autograd/ops/reduce.h"
#include "engine/random.h"

namespace mora {
namespace {

Tensor random_like(const Tensor& x, uint64_t seed, uint64_t layer) {
  const RandomStream stream({.seed = seed, .layer = layer, .purpose = Purpose::probe});
  Tensor t = Tensor::empty(x.shape(), DType::f64);
  double* values = t.mutable_data<double>();
  for (int64_t i = 0; i < t.numel(); ++i) values[i] = stream.normal(uint64_t(i));
  return t;
}

double dot(std::span<const Tensor> a, std::span<const Tensor> b) {
  double total = 0;
  for (size_t i = 0; i < a.size(); ++i) total += sum(a[i].detach() * b[i].detach()).item();
  return total;
}

class Checker {
 public:
  explicit Checker(const GradCheck& options) : options_(options) {}

  std::string check(TensorFunction f, std::span<const Tensor> inputs, int order) {
    Tensors directions, weights;
    for (const Tensor& x : inputs) directions.push_back(random_like(x, options_.seed, ++draws_));
    for (const Tensor& y : f(inputs)) weights.push_back(random_like(y, options_.seed, ++draws_));

    const Tensors gradients = gradient(f, inputs, weights, false);
    const double analytic = dot(gradients, directions);
    const double numerical =
        (value(f, inputs, directions, weights, options_.step) - value(f, inputs, directions, weights, -options_.step)) /
        (2 * options_.step);
    const double tolerance = options_.tolerance * std::pow(10, options_.order - order);
    if (!(std::abs(analytic - numerical) <= tolerance * (1 + std::abs(numerical)))) {
      return fmt::format("order {}: analytic {:.12g}, numerical {:.12g}", options_.order - order + 1, analytic,
                         numerical);
    }
    if (order == 1) return "";
    // The gradient as a function of the inputs and of the output weights.
    Tensors all(inputs.begin(), inputs.end());
    all.insert(all.end(), weights.begin(), weights.end());
    auto next = [&](std::span<const Tensor> in) {
      return gradient(f, in.first(inputs.size()), in.subspan(inputs.size()), true);
    };
    return check(next, all, order - 1);
  }

 private:
  // Gradients of Σ weights·f. When `create`, they keep their history back to the inputs and weights given.
  Tensors gradient(TensorFunction f, std::span<const Tensor> inputs, std::span<const Tensor> weights, bool create) {
    Tensors x;
    for (const Tensor& t : inputs) x.push_back(create && requires_grad(t) ? t : leaf(t));
    GradMode mode(true);
    const Tensors y = f(x);
    Tensors outputs, given;
    for (size_t i = 0; i < y.size(); ++i) {
      if (!requires_grad(y[i])) continue;
      outputs.push_back(y[i]);
      given.push_back(weights[i]);
    }
    Tensors g(x.size());
    if (!outputs.empty()) g = grad(outputs, x, {.create_graph = create, .allow_unused = true}, given);
    for (size_t i = 0; i < g.size(); ++i) {
      if (!g[i].defined()) g[i] = Tensor::zeros(x[i].shape(), x[i].dtype());
    }
    return g;
  }

  double value(TensorFunction f, std::span<const Tensor> inputs, const Tensors& directions, const Tensors& weights,
               double step) {
    Tensors moved;
    for (size_t i = 0; i < inputs.size(); ++i) moved.push_back(inputs[i].detach() + directions[i] * step);
    return dot(f(moved), weights);
  }

  GradCheck options_;
  uint64_t draws_ = 0;
};

}  // namespace

std::string check_grads(TensorFunction f, std::span<const Tensor> inputs, const GradCheck& options) {
  for (const Tensor& x : inputs)
    require<DTypeError>(x.dtype() == DType::f64, "check_grads: expected f64 inputs, not {}", name_of(x.dtype()));
  return Checker(options).check(f, inputs, options.order);
}

}  // namespace mora
