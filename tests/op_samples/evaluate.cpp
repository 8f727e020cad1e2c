#include "op_samples/evaluate.h"

#include <cmath>

#include "kernels/copy.h"

namespace mora::test {

Tensors weights_for(const Tensors& like, uint64_t seed) {
  Tensors weights;
  for (const Tensor& t : like) {
    weights.push_back(is_floating(t.dtype()) ? constant(t.shape(), seed + weights.size(), t.dtype()) : Tensor());
  }
  return weights;
}

Tensors leaves(const Tensors& inputs) {
  Tensors result;
  for (const Tensor& t : inputs) result.push_back(is_floating(t.dtype()) ? leaf(t) : t);
  return result;
}

Tensors floating(const Tensors& inputs) {
  Tensors result;
  for (const Tensor& t : inputs)
    if (is_floating(t.dtype())) result.push_back(t);
  return result;
}

Tensors gradients_of(const Tensors& outputs, const Tensors& inputs, const Tensors& weights, bool create_graph) {
  Tensors recorded, given;
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (!requires_grad(outputs[i])) continue;
    recorded.push_back(outputs[i]);
    given.push_back(weights[i]);
  }
  Tensors result(inputs.size());
  if (!recorded.empty())
    result = grad(recorded, inputs, {.create_graph = create_graph, .retain_graph = true, .allow_unused = true}, given);
  for (size_t i = 0; i < inputs.size(); ++i)
    if (!result[i].defined()) result[i] = Tensor::zeros(inputs[i].shape(), inputs[i].dtype(), inputs[i].device());
  return result;
}

Result evaluate(const Function& f, const Tensors& inputs, uint64_t seed, bool create_graph) {
  Result r{f(inputs), {}};
  r.gradients = gradients_of(r.outputs, floating(inputs), weights_for(r.outputs, seed), create_graph);
  return r;
}

namespace {

Tensor widened(const Tensor& t) {
  Tensor y = Tensor::empty(t.shape(), DType::f64);
  kernels::copy(t.to(cpu), y);
  return y;
}

}  // namespace

void expect_near(const Tensors& a, const Tensors& b, double tolerance, const std::string& what) {
  ASSERT_EQ(a.size(), b.size()) << what;
  for (size_t i = 0; i < a.size(); ++i) {
    SCOPED_TRACE(what + " " + std::to_string(i));
    ASSERT_EQ(a[i].defined(), b[i].defined());
    if (!a[i].defined()) continue;
    ASSERT_EQ(a[i].shape().to_string(), b[i].shape().to_string());
    const Tensor u = widened(a[i]), v = widened(b[i]);
    for (int64_t n = 0; n < u.numel(); ++n) {
      const double x = u.data<double>()[n], y = v.data<double>()[n];
      ASSERT_TRUE(std::abs(x - y) <= tolerance * (1 + std::abs(y))) << "element " << n << ": " << x << ", not " << y;
    }
  }
}

void expect_near(const Result& a, const Result& b, double tolerance) {
  expect_near(a.outputs, b.outputs, tolerance, "output");
  expect_near(a.gradients, b.gradients, tolerance, "gradient");
}

}  // namespace mora::test
