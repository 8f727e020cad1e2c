// Each differentiable op against central differences to second order in f64, and each fused op against its composite.
#include "autograd/gradcheck.h"

#include <gtest/gtest.h>

#include <functional>

#include "autograd/ops/arithmetic.h"
#include "autograd/ops/attention.h"
#include "autograd/ops/cross_entropy.h"
#include "autograd/ops/dropout.h"
#include "autograd/ops/elementary.h"
#include "autograd/ops/embedding.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/mora_operator.h"
#include "autograd/ops/norm.h"
#include "autograd/ops/reduce.h"
#include "autograd/ops/shape.h"
#include "autograd/ops/softmax.h"
#include "autograd/ops/swiglu.h"

namespace mora {
namespace {

Tensor normal(const Shape& shape, uint64_t layer, double shift = 0) {
  const RandomStream stream({.seed = 7, .layer = layer});
  Tensor t = Tensor::empty(shape, DType::f64);
  double* values = t.mutable_data<double>();
  for (int64_t i = 0; i < t.numel(); ++i) values[i] = stream.normal(uint64_t(i)) + shift;
  return t;
}

Tensor positive(const Shape& shape, uint64_t layer) { return exp(normal(shape, layer) * 0.3); }
Tensor ints(const std::vector<int32_t>& values) { return Tensor::from(values, {int64_t(values.size())}); }

using Function = std::function<Tensors(std::span<const Tensor>)>;
struct Case {
  std::string name;
  Tensors inputs;
  Function f;
};

Function unary(Tensor (*f)(const Tensor&)) {
  return [f](std::span<const Tensor> x) -> Tensors { return {f(x[0])}; };
}

std::vector<Case> elementary_cases() {
  const Tensor x = normal({3, 5}, 1);
  return {{"exp", {x}, unary(exp)},
          {"log", {positive({3, 5}, 2)}, unary(log)},
          {"sqrt", {positive({7}, 3)}, unary(sqrt)},
          {"rsqrt", {positive({7}, 4)}, unary(rsqrt)},
          {"reciprocal", {positive({7}, 5)}, unary(reciprocal)},
          {"square", {x}, unary(square)},
          {"tanh", {x}, unary(tanh)},
          {"sigmoid", {x}, unary(sigmoid)},
          {"erf", {x}, unary(erf)},
          {"sin", {x}, unary(sin)},
          {"cos", {x}, unary(cos)},
          {"relu", {x}, unary(relu)},
          {"absolute", {x}, unary(absolute)},
          {"gelu", {x}, unary(gelu)},
          {"gelu_tanh", {x}, unary(gelu_tanh)},
          {"silu", {x}, unary(silu)},
          {"softmax", {x}, unary(softmax)},
          {"log_softmax", {x}, unary(log_softmax)},
          {"logsumexp", {x}, unary(logsumexp)},
          {"empty", {normal({0, 5}, 6)}, unary(gelu)}};
}

std::vector<Case> arithmetic_cases() {
  const Tensor a = normal({3, 1, 4}, 10), b = positive({2, 4}, 11);
  return {{"add", {a, b}, [](auto x) -> Tensors { return {x[0] + x[1]}; }},
          {"sub", {a, b}, [](auto x) -> Tensors { return {x[0] - x[1]}; }},
          {"mul", {a, b}, [](auto x) -> Tensors { return {x[0] * x[1]}; }},
          {"div", {a, b}, [](auto x) -> Tensors { return {x[0] / x[1]}; }},
          {"maximum", {a, normal({2, 4}, 12)}, [](auto x) -> Tensors { return {maximum(x[0], x[1])}; }},
          {"where",
           {a, b},
           [](auto x) -> Tensors {
             return {where(compare(x[0], full_like(x[0], 0), kernels::Compare::greater), x[0], x[1])};
           }},
          {"affine", {a}, [](auto x) -> Tensors { return {affine(x[0], -2.5, 1)}; }},
          {"power", {b}, [](auto x) -> Tensors { return {power(x[0], 2.5)}; }},
          {"clamp", {a}, [](auto x) -> Tensors { return {clamp(x[0], -0.5, 0.7)}; }},
          {"sum",
           {a},
           [](auto x) -> Tensors {
             return {sum(x[0], {0, -1})};
           }},
          {"mean", {a}, [](auto x) -> Tensors { return {mean(x[0], {1}, true)}; }},
          {"amax", {a}, [](auto x) -> Tensors { return {amax(x[0], {-1})}; }},
          {"matmul", {normal({3, 4}, 13), normal({4, 2}, 14)}, [](auto x) -> Tensors { return {matmul(x[0], x[1])}; }},
          {"matmul_ta",
           {normal({4, 3}, 13), normal({4, 2}, 14)},
           [](auto x) -> Tensors { return {matmul(x[0], x[1], true)}; }},
          {"matmul_tb",
           {normal({3, 4}, 13), normal({2, 4}, 14)},
           [](auto x) -> Tensors { return {matmul(x[0], x[1], false, true)}; }},
          {"matmul_tt", {normal({4, 3}, 13), normal({2, 4}, 14)}, [](auto x) -> Tensors {
             return {matmul(x[0], x[1], true, true)};
           }}};
}

std::vector<Case> shape_cases() {
  const Tensor x = normal({4, 6}, 20);
  const Tensor offsets = ints({0, 1, 1, 4});
  return {{"reshape",
           {x},
           [](auto t) -> Tensors {
             return {square(reshape(t[0], {3, -1}))};
           }},
          {"transpose", {x}, [](auto t) -> Tensors { return {square(transpose(t[0]))}; }},
          {"slice", {x}, [](auto t) -> Tensors { return {square(slice(t[0], 1, 2, 3))}; }},
          {"embed", {x}, [](auto t) -> Tensors { return {square(embed(t[0], 0, 1, 7))}; }},
          {"expand",
           {normal({1, 6}, 21)},
           [](auto t) -> Tensors {
             return {square(expand(t[0], {4, 6}))};
           }},
          {"concat", {x, normal({2, 6}, 22)}, [](auto t) -> Tensors { return {square(concat(t, 0))}; }},
          {"gather",
           {x},
           [](auto t) -> Tensors {
             return {square(gather_rows(t[0], ints({3, 0, 3})))};
           }},
          {"dropout", {x}, [](auto t) -> Tensors { return {square(dropout(t[0], 0.4, {.seed = 3}))}; }},
          {"segment_mean", {x}, [offsets](auto t) -> Tensors { return {square(segment_mean(t[0], offsets))}; }}};
}

std::vector<Case> fused_cases() {
  const Tensor x = normal({4, 6}, 30), w = normal({6}, 31, 1), b = normal({6}, 32);
  const Tensor labels = ints({2, -100, 0, 5});
  const Tensor offsets = ints({0, 3, 3, 4}), positions = ints({0, 1, 2, 0});
  const Tensor cosines = normal({5, 3}, 33), sines = normal({5, 3}, 34);
  auto weight = std::make_shared<const kernels::FrozenWeight>(normal({3, 6}, 35), normal({3}, 36));
  std::vector<Case> cases = {
      {"layer_norm", {x, w, b}, [](auto t) -> Tensors { return {layer_norm(t[0], t[1], t[2], 1e-5)}; }},
      {"rms_norm", {x, w}, [](auto t) -> Tensors { return {rms_norm(t[0], t[1], 1e-5)}; }},
      {"cross_entropy", {x}, [labels](auto t) -> Tensors { return {cross_entropy(t[0], labels)}; }},
      {"swiglu", {x, normal({4, 6}, 37)}, [](auto t) -> Tensors { return {swiglu(t[0], t[1])}; }},
      {"frozen_linear", {x}, [weight](auto t) -> Tensors { return {square(linear(t[0], weight))}; }},
      {"rotary",
       {normal({4, 2, 6}, 38)},
       [=](auto t) -> Tensors { return {square(rotary(t[0], positions, cosines, sines))}; }},
  };
  for (bool causal : {false, true}) {
    cases.push_back({causal ? "attention_causal" : "attention",
                     {normal({4, 4, 6}, 40), normal({4, 2, 6}, 41), normal({4, 2, 6}, 42)},
                     [=](auto t) -> Tensors {
                       return {attention(t[0], t[1], t[2], offsets, offsets, {.scale = 0.4, .causal = causal})};
                     }});
  }
  for (int kind = 0; kind < 8; ++kind) {
    const kernels::MoraOperator op{kernels::OperatorKind(kind), 6, 10, 4};
    cases.push_back({"mora_operator_" + std::to_string(kind), {x}, [op](auto t) -> Tensors {
                       return {square(mora_decompress(square(mora_compress(t[0], op)), op))};
                     }});
  }
  return cases;
}

void check_all(const std::vector<Case>& cases) {
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    EXPECT_EQ(check_grads(c.f, c.inputs), "");
  }
}

TEST(GradCheckTest, Elementary) { check_all(elementary_cases()); }
TEST(GradCheckTest, Arithmetic) { check_all(arithmetic_cases()); }
TEST(GradCheckTest, Shape) { check_all(shape_cases()); }
TEST(GradCheckTest, Fused) { check_all(fused_cases()); }

TEST(GradCheckTest, AWrongDerivativeIsSeen) {
  const Tensor x = normal({5}, 50);
  auto wrong = [](std::span<const Tensor> t) -> Tensors { return {t[0] * t[0].detach()}; };
  EXPECT_NE(check_grads(wrong, std::span(&x, 1)), "");
}

TEST(GradTest, AGraphIsUsedOnceUnlessRetained) {
  const Tensor x = leaf(normal({3}, 60));
  const Tensor y = sum(square(x));
  grad(y, std::span(&x, 1));
  EXPECT_THROW(grad(y, std::span(&x, 1)), AutogradError);
}

TEST(GradTest, WritingToWhatWasSavedThrows) {
  Tensor x = leaf(normal({3}, 61));
  const Tensor y = sum(square(x));
  x.mutable_data<double>()[0] = 1;
  EXPECT_THROW(grad(y, std::span<const Tensor>(&x, 1)), AutogradError);
}

TEST(GradTest, AnInputThatDoesNotMatterThrowsUnlessAllowed) {
  const Tensor x[] = {leaf(normal({3}, 62)), leaf(normal({3}, 63))};
  EXPECT_THROW(grad(sum(x[0]), x), AutogradError);
  EXPECT_FALSE(grad(sum(x[0]), x, {.allow_unused = true})[1].defined());
}

TEST(GradTest, AMillionOpsNeitherOverflowTheStackNorLeak) {
  const Tensor x = leaf(normal({1}, 64));
  Tensor y = x;
  for (int i = 0; i < 1'000'000; ++i) y = y + 0.0;
  EXPECT_EQ(grad(sum(y), std::span(&x, 1))[0].item(), 1.0);
}

}  // namespace
}  // namespace mora
