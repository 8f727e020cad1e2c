// Every sample of every op: derivatives, composite, strides, sizes of zero, dtypes, wrong inputs, sums of gradients.
#include <gtest/gtest.h>

#include <cmath>

#include "autograd/gradcheck.h"
#include "kernels/copy.h"
#include "op_samples/evaluate.h"
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
