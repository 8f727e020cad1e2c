// The backward pass itself: which graphs it walks, what it refuses, and what it leaves.
#include "autograd/grad.h"

#include <gtest/gtest.h>

#include "autograd/ops/arithmetic.h"
#include "autograd/ops/elementary.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/reduce.h"
#include "autograd/ops/shape.h"
#include "autograd/ops/softmax.h"
#include "op_samples/sample.h"

namespace mora::test {
namespace {

Tensor variable(const Shape& shape, uint64_t seed) { return leaf(constant(shape, seed, DType::f64)); }
Tensor scalar(double value) { return leaf(Tensor::from(std::vector<double>{value}, {})); }
Tensor gradient(const Tensor& y, const Tensor& x, const GradOptions& options = {}) {
  return grad(y, std::span(&x, 1), options)[0];
}
std::string message_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const AutogradError& error) {
    return error.what();
  }
  return "nothing was thrown";
}

TEST(GradTest, ASharedSubgraphIsVisitedOnce) {
  Tensor x = scalar(1.5), y = x;
  for (int i = 0; i < 60; ++i) y = (y + y) * 0.5;  // 2^60 paths
  EXPECT_EQ(gradient(y, x).item(), 1);
}

TEST(GradTest, AnOutputUsedTwiceCountsTwice) {
  const Tensor x = scalar(3), y = square(x);
  const Tensor outputs[] = {y, y, y * x};
  EXPECT_EQ(grad(outputs, std::span(&x, 1))[0].item(), 6 + 6 + 27);
}

TEST(GradTest, AnInputAskedForTwiceIsGivenTwice) {
  const Tensor x = scalar(3);
  const Tensor inputs[] = {x, x};
  const Tensors g = grad(square(x), inputs);
  EXPECT_EQ(g[0].item(), 6);
  EXPECT_EQ(g[1].item(), 6);
}

TEST(GradTest, AnInputMayBeAnIntermediateOrTheOutput) {
  const Tensor x = scalar(2), y = square(x), z = exp(y) * x;
  const Tensor inputs[] = {y, x, z};
  const Tensors g = grad(z, inputs);
  EXPECT_DOUBLE_EQ(g[0].item(), 2 * std::exp(4));
  EXPECT_DOUBLE_EQ(g[1].item(), std::exp(4) + 2 * std::exp(4) * 4);
  EXPECT_EQ(g[2].item(), 1);
}

TEST(GradTest, DerivativesToThirdOrder) {
  const Tensor x = scalar(0.7), y = power(x, 4) * sin(x);
  const double s = std::sin(0.7), c = std::cos(0.7), v = 0.7;
  const Tensor first = gradient(y, x, {.create_graph = true});
  const Tensor second = gradient(first, x, {.create_graph = true});
  EXPECT_NEAR(first.item(), 4 * v * v * v * s + v * v * v * v * c, 1e-14);
  EXPECT_NEAR(second.item(), 12 * v * v * s + 8 * v * v * v * c - v * v * v * v * s, 1e-13);
  EXPECT_NEAR(gradient(second, x).item(), 24 * v * s + 36 * v * v * c - 12 * v * v * v * s - v * v * v * v * c, 1e-13);
}

TEST(GradTest, WithoutCreateGraphAGradientHasNoHistory) {
  const Tensor x = scalar(2);
  EXPECT_FALSE(requires_grad(gradient(power(x, 3), x)));
}

TEST(GradTest, AGraphIsUsedOnceUnlessRetained) {
  const Tensor x = variable({3}, 1), y = sum(square(x));
  const double kept = gradient(sum(y), x, {.retain_graph = true}).data<double>()[0];
  EXPECT_EQ(gradient(y, x).data<double>()[0], kept);
  EXPECT_EQ(message_of([&] { gradient(y, x); }),
            "square: this graph was freed by an earlier backward; pass retain_graph to use it twice");
}

TEST(GradTest, AnInputThatDoesNotMatterThrowsUnlessAllowed) {
  const Tensor x[] = {variable({3}, 1), variable({3}, 2)};
  EXPECT_EQ(message_of([&] { grad(sum(x[0]), x); }), "grad: the outputs do not depend on input 1 (3)");
  const Tensors g = grad(sum(x[0]), x, {.allow_unused = true});
  EXPECT_TRUE(g[0].defined());
  EXPECT_FALSE(g[1].defined());
}

TEST(GradTest, AnOutputOlderThanTheInputDoesNotDependOnIt) {
  const Tensor x = variable({3}, 1), y = sum(square(x)), later = variable({3}, 2);
  EXPECT_THROW(gradient(y, later), AutogradError);
  EXPECT_FALSE(gradient(y, later, {.allow_unused = true}).defined());
}

TEST(GradTest, WhatHasNoHistoryThrows) {
  const Tensor x = variable({3}, 1), constant_ = x.detach();
  EXPECT_EQ(message_of([&] { gradient(sum(x), constant_); }), "grad: input 0 does not require a gradient");
  EXPECT_EQ(message_of([&] { gradient(sum(constant_), x); }),
            "grad: output 0 has no history: nothing it was computed from requires a gradient");
  NoGrad off;
  EXPECT_FALSE(requires_grad(square(x)));
}

TEST(GradTest, AnOutputGradientMustFit) {
  const Tensor x = variable({3}, 1), y = square(x);
  EXPECT_EQ(message_of([&] { gradient(y, x); }), "grad: output 0 (3) has 3 elements; give its output gradient");
  const Tensor other[] = {constant({2}, 1, DType::f64)}, narrow[] = {constant({3}, 1, DType::f32)};
  for (const auto& wrong : {other, narrow})
    EXPECT_THROW(grad(std::span(&y, 1), std::span(&x, 1), {}, std::span(wrong, 1)), AutogradError);
  EXPECT_THROW(grad(std::span(&y, 1), std::span(&x, 1), {}, std::vector<Tensor>(2)), AutogradError);
}

TEST(GradTest, WritingToWhatWasSavedThrows) {
  Tensor x = variable({3}, 1);
  const Tensor y = sum(square(x));
  x.mutable_data<double>()[0] = 1;
  EXPECT_EQ(message_of([&] { gradient(y, x); }), "square: input 0 was written to after it was saved for the backward");
}

TEST(GradTest, WritingThroughAViewThrowsToo) {
  const Tensor x = variable({4, 3}, 1), y = sum(square(x));
  Tensor row = slice(x, 0, 1, 1).detach();
  row.mutable_data<double>()[0] = 1;
  EXPECT_THROW(gradient(y, x), AutogradError);
}

TEST(GradTest, WritingToASavedOutputThrows) {
  const Tensor x = variable({3}, 1);
  Tensor y = exp(x);
  y.mutable_data<double>()[0] = 1;
  EXPECT_EQ(message_of([&] { gradient(sum(y), x); }),
            "exp: output 0 was written to after it was saved for the backward");
}

TEST(GradTest, WritingToWhatNobodySavedIsAllowed) {
  Tensor x = variable({3}, 1);
  const Tensor y = sum(x + x);
  x.mutable_data<double>()[0] = 1;
  EXPECT_EQ(gradient(y, x).shape(), x.shape());
}

TEST(GradTest, GradientsOfViewsMeetInTheBase) {
  const Tensor x = variable({2, 3}, 1);
  const Tensor y = sum(square(slice(x, 1, 0, 2))) + sum(transpose(x)) + sum(reshape(x, {6}) * 2.0);
  const Tensor g = gradient(y, x);
  for (int i = 0; i < 6; ++i) {
    const double expected = 3 + (i % 3 < 2 ? 2 * x.data<double>()[i] : 0);
    EXPECT_NEAR(g.data<double>()[i], expected, 1e-15) << i;
  }
}

// Optimizers scale and clip gradients in place.
TEST(GradTest, GradientsMayBeWrittenInPlace) {
  const Tensor a = variable({2, 3}, 1), b = variable({2, 3}, 2), y = a + b;
  Tensor given = constant({2, 3}, 3, DType::f64);
  const double first = given.data<double>()[0];
  const Tensor inputs[] = {a, b};
  Tensors g = grad(std::span(&y, 1), inputs, {}, std::span(&given, 1));
  g[0].mutable_data<double>()[0] = 100;
  EXPECT_EQ(g[1].data<double>()[0], first);
  EXPECT_EQ(given.data<double>()[0], first);
  const Tensor stretched = gradient(sum(a), a);
  EXPECT_TRUE(stretched.is_contiguous());
  EXPECT_EQ(stretched.storage()->bytes(), a.bytes());
}

TEST(GradTest, AMillionOpsNeitherOverflowTheStackNorLeak) {
  const Tensor x = variable({1}, 1);
  Tensor y = x;
  for (int i = 0; i < 1'000'000; ++i) y = y + 0.0;
  EXPECT_EQ(gradient(sum(y), x).item(), 1);
}

TEST(GradTest, AMillionOpsThatNobodyDifferentiatesAreFreed) {
  Tensor y = variable({1}, 1);
  for (int i = 0; i < 1'000'000; ++i) y = y + 0.0;
}

TEST(GradTest, FrozenInputsAreNotRecorded) {
  const Tensor x = constant({2, 3}, 1, DType::f64), w = variable({3, 2}, 2);
  const Tensor y = matmul(softmax(x), w);
  EXPECT_FALSE(requires_grad(softmax(x)));
  ASSERT_EQ(node_of(y)->inputs().size(), 2u);
  EXPECT_FALSE(node_of(y)->inputs()[0].edge.node);
}

}  // namespace
}  // namespace mora::test
