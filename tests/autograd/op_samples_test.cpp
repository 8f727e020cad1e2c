// Every sample of every op: derivatives, composite, strides, sizes of zero, dtypes, wrong inputs, sums of gradients.
#include <gtest/gtest.h>

#include <cmath>

#include "autograd/gradcheck.h"
#include "kernels/copy.h"
#include "op_samples/sample.h"
#include "tolerance.h"

namespace mora::test {
namespace {

struct Case {
  std::string name;
  const Sample* sample;
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

std::vector<Case> cases(bool (*wanted)(const Sample&)) {
  std::vector<Case> list;
  for (const OpSamples& op : all_samples()) {
    for (const Sample& s : op.samples)
      if (wanted(s)) list.push_back({std::string(op.op) + "_" + s.name, &s});
  }
  return list;
}

// Outputs and, where the op is differentiable, the gradients of Σ weights·outputs.
struct Result {
  Tensors outputs, gradients;
};

// Numbers of like each tensor, the same in every dtype.
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

// The gradients of Σ weights·outputs, zero for an input that does not matter.
Tensors gradients_of(const Tensors& outputs, const Tensors& inputs, const Tensors& weights, bool create_graph = false) {
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
    if (!result[i].defined()) result[i] = Tensor::zeros(inputs[i].shape(), inputs[i].dtype());
  return result;
}

Result evaluate(const Function& f, const Tensors& inputs, uint64_t seed = 500, bool create_graph = false) {
  Result r{f(inputs), {}};
  r.gradients = gradients_of(r.outputs, floating(inputs), weights_for(r.outputs, seed), create_graph);
  return r;
}

Tensor widened(const Tensor& t) {
  Tensor y = Tensor::empty(t.shape(), DType::f64);
  kernels::copy(t, y);
  return y;
}

// |a − b| ≤ tolerance·(1 + |b|) for each element; tolerance 0: the same values.
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

bool is_right(const Sample& s) { return s.error.empty(); }
bool is_wrong(const Sample& s) { return !s.error.empty(); }
bool is_differentiable(const Sample& s) { return is_right(s) && s.differentiable; }
bool has_composite(const Sample& s) { return is_right(s) && s.composite; }
bool has_no_elements(const Sample& s) { return is_right(s) && s.empty(); }

std::string case_name(const testing::TestParamInfo<Case>& info) { return info.param.name; }

// One test suite a driver, one test a sample.
#define MORA_DRIVER(Driver, wanted)                                                   \
  class Driver : public testing::TestWithParam<Case> {                                \
   protected:                                                                         \
    const Sample& sample() const { return *GetParam().sample; }                       \
  };                                                                                  \
  INSTANTIATE_TEST_SUITE_P(Ops, Driver, testing::ValuesIn(cases(wanted)), case_name); \
  TEST_P(Driver, Holds)

MORA_DRIVER(Derivatives, is_differentiable) {
  const Tensors inputs = sample().draw(DType::f64);
  const Tensors moving = floating(inputs);
  auto f = [&](std::span<const Tensor> x) {
    Tensors all = inputs;
    size_t next = 0;
    for (Tensor& t : all)
      if (is_floating(t.dtype())) t = x[next++];
    return sample().run(all);
  };
  EXPECT_EQ(check_grads(f, moving, {.order = 2}), "");
}

// Value, gradient, and gradient of the gradient.
MORA_DRIVER(FusedAgainstComposite, has_composite) {
  const double tolerance = 100 * test::tolerance(DType::f64);
  const Tensors inputs = leaves(sample().draw(DType::f64));
  const Result fused = evaluate(sample().run, inputs, 500, true);
  const Result plain = evaluate(sample().composite, inputs, 500, true);
  expect_near(fused, plain, tolerance);
  const Tensors weights = weights_for(fused.gradients, 600);
  expect_near(gradients_of(fused.gradients, floating(inputs), weights),
              gradients_of(plain.gradients, floating(inputs), weights), tolerance, "second gradient");
}

// The same numbers, every second element of a larger storage.
Tensor spread(const Tensor& t) {
  Shape larger = t.shape();
  larger.push_back(2);
  const Tensor storage = Tensor::zeros(larger, t.dtype());
  Strides strides = t.shape();
  for (int i = 0; i < t.rank(); ++i) strides[i] = storage.strides()[i];
  Tensor result = storage.alias(t.shape(), strides, 0);
  kernels::copy(t, result);
  return result;
}

// The same numbers, with the order of the dimensions in memory reversed.
Tensor reversed(const Tensor& t) {
  Shape order = t.shape();
  for (int i = 0; i < t.rank(); ++i) order[i] = t.rank() - 1 - i;
  Tensor turned = Tensor::empty(permute(t, order).meta());
  kernels::copy(permute(t, order), turned);
  return permute(turned, order);
}

MORA_DRIVER(Noncontiguous, is_right) {
  const Tensors inputs = sample().draw(DType::f64);
  const Result expected = evaluate(sample().run, leaves(inputs));
  for (Tensor (*arrange)(const Tensor&) : {spread, reversed}) {
    Tensors arranged;
    for (const Tensor& t : inputs) arranged.push_back(arrange(t));
    expect_near(evaluate(sample().run, leaves(arranged)), expected, test::tolerance(DType::f64));
    if (!sample().differentiable) continue;
    // The gradient that arrives may be a view as well.
    const Tensors x = leaves(inputs);
    const Tensors y = sample().run(x);
    Tensors weights;
    for (const Tensor& w : weights_for(y, 500)) weights.push_back(arrange(w));
    expect_near(gradients_of(y, floating(x), weights), expected.gradients, test::tolerance(DType::f64), "gradient");
  }
}

// Memory that the next small tensors get again is full of NaN: what an op forgets to write shows.
void poison_memory() {
  Tensors blocks;
  for (int64_t n = 1; n <= 64; ++n) {
    for (int copies = 0; copies < 3; ++copies) {
      blocks.push_back(Tensor::empty({8 * n}, DType::f64));
      kernels::fill(blocks.back(), std::nan(""));
    }
  }
}

// With nothing coming out, no gradient has anything in it.
MORA_DRIVER(ZeroSize, has_no_elements) {
  const Tensors inputs = leaves(sample().draw(DType::f32));
  poison_memory();
  const Result r = evaluate(sample().run, inputs);
  const bool nothing = std::all_of(r.outputs.begin(), r.outputs.end(), [](const Tensor& y) { return y.numel() == 0; });
  const Tensors wanted = floating(inputs);
  for (size_t i = 0; i < r.gradients.size(); ++i) {
    EXPECT_EQ(r.gradients[i].meta(), wanted[i].meta());
    if (nothing) expect_near({r.gradients[i]}, {Tensor::zeros(wanted[i].shape())}, 0, "gradient");
  }
}

MORA_DRIVER(LowPrecision, is_right) {
  const Tensors exact = sample().draw(DType::f64);
  const Result expected = evaluate(sample().run, leaves(exact));
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    SCOPED_TRACE(name_of(dtype));
    poison_memory();
    const Result result = evaluate(sample().run, leaves(sample().draw(dtype)));
    auto tolerance = [&](int roundings) { return (size_of(dtype) == 2 ? roundings : 1) * test::tolerance(dtype); };
    expect_near(result.outputs, expected.outputs, tolerance(sample().output_roundings), "output");
    expect_near(result.gradients, expected.gradients, tolerance(sample().gradient_roundings), "gradient");
  }
}

MORA_DRIVER(WrongInputs, is_wrong) {
  try {
    sample().run(sample().draw(DType::f64));
    FAIL() << "nothing was thrown";
  } catch (const InternalError& error) {
    FAIL() << "an internal error: " << error.what();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find(sample().error), std::string::npos) << error.what();
  }
}

// Gradients of two graphs are those of both together, and a gradient asked for alone is the one among all.
MORA_DRIVER(Accumulation, is_differentiable) {
  const double tolerance = test::tolerance(DType::f64);
  const Tensors inputs = leaves(sample().draw(DType::f64)), wanted = floating(inputs);
  const Result first = evaluate(sample().run, inputs, 500), second = evaluate(sample().run, inputs, 700);
  Tensors outputs = sample().run(inputs), weights = weights_for(outputs, 500);
  const Tensors more = sample().run(inputs), more_weights = weights_for(more, 700);
  outputs.insert(outputs.end(), more.begin(), more.end());
  weights.insert(weights.end(), more_weights.begin(), more_weights.end());
  const Tensors both = gradients_of(outputs, wanted, weights);
  for (size_t i = 0; i < wanted.size(); ++i) {
    expect_near({both[i]}, {first.gradients[i] + second.gradients[i]}, tolerance, "sum of gradients");
    expect_near(gradients_of(outputs, {wanted[i]}, weights), {both[i]}, 0, "gradient alone");
  }
}

}  // namespace
}  // namespace mora::test
