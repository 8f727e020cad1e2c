// check_grads itself, and functions made of ops. The ops stand in op_samples_test.cpp.
#include "autograd/gradcheck.h"

#include <gtest/gtest.h>

#include "autograd/ops/arithmetic.h"
#include "autograd/ops/elementary.h"
#include "autograd/ops/reduce.h"
#include "autograd/ops/shape.h"
#include "op_samples/sample.h"

namespace mora::test {
namespace {

const Tensor& only(std::span<const Tensor> x) { return x[0]; }

std::string check(const Function& f, const Tensors& inputs, const GradCheck& options = {}) {
  return check_grads(f, inputs, options);
}

TEST(GradCheckTest, AWrongFirstDerivativeIsSeen) {
  auto wrong = [](std::span<const Tensor> x) -> Tensors { return {only(x) * only(x).detach()}; };
  EXPECT_EQ(check(wrong, {constant({5}, 1, DType::f64)}).substr(0, 8), "order 1:");
}

TEST(GradCheckTest, AWrongSecondDerivativeIsSeen) {
  // x³ with the gradient 3·x·|x| where x² stands still: right at first order on positive x, not at second.
  auto wrong = [](std::span<const Tensor> x) -> Tensors {
    const Tensor frozen = square(only(x)).detach();
    return {only(x) * frozen * 3.0 - (only(x) * frozen * 2.0).detach()};
  };
  EXPECT_EQ(check(wrong, {positive({5}).make(DType::f64, 1)}, {.order = 1}), "");
  EXPECT_EQ(check(wrong, {positive({5}).make(DType::f64, 1)}).substr(0, 8), "order 2:");
}

TEST(GradCheckTest, HoldsToThirdOrder) {
  auto f = [](std::span<const Tensor> x) -> Tensors { return {tanh(x[0]) * exp(x[1] * 0.5) + square(x[0] * x[1])}; };
  EXPECT_EQ(check(f, {constant({4}, 1, DType::f64), constant({4}, 2, DType::f64)}, {.order = 3}), "");
}

TEST(GradCheckTest, TakesF64Only) {
  EXPECT_THROW(check([](auto x) -> Tensors { return {x[0]}; }, {constant({2}, 1, DType::f32)}), DTypeError);
}

TEST(GradCheckTest, FunctionsOfOps) {
  const Tensor x = constant({3, 2, 4}, 1, DType::f64);
  EXPECT_EQ(check([](auto t) -> Tensors { return {logsumexp(only(t))}; }, {x}), "");
  EXPECT_EQ(check([](auto t) -> Tensors { return {square(mean(only(t), {1}, true))}; }, {x}), "");
  EXPECT_EQ(check([](auto t) -> Tensors { return {square(sum(only(t), {0, -1}))}; }, {x}), "");
  EXPECT_EQ(check([](auto t) -> Tensors { return {square(amax(only(t), {-1}))}; }, {x}), "");
  EXPECT_EQ(check([](auto t) -> Tensors { return {square(reshape(transpose(only(t)), {4, -1}))}; }, {x}), "");
}

}  // namespace
}  // namespace mora::test
