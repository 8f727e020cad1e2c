// Layers against their merged weights: forward(x) = x·ΔWᵀ, in f64.
#include <gtest/gtest.h>

#include <cmath>

#include "autograd/grad.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/shape.h"
#include "mora/adapters/adalora.h"
#include "mora/adapters/lora.h"
#include "mora/adapters/mora.h"
#include "mora/mora_linear.h"

namespace mora {
namespace {

Tensor normal(const Shape& shape, uint64_t layer) {
  const RandomStream stream({.seed = 5, .layer = layer});
  Tensor t = Tensor::empty(shape, DType::f64);
  double* values = t.mutable_data<double>();
  for (int64_t i = 0; i < t.numel(); ++i) values[i] = stream.normal(uint64_t(i));
  return t;
}

double worst(const Tensor& a, const Tensor& b) {
  double difference = 0;
  for (int64_t i = 0; i < a.numel(); ++i)
    difference = std::max(difference, std::abs(a.data<double>()[i] - b.data<double>()[i]));
  return difference;
}

FrozenWeightPtr frozen(int64_t in, int64_t out) {
  return std::make_shared<const kernels::FrozenWeight>(normal({out, in}, 11), normal({out}, 12));
}

LinearSlot linear_of(const FrozenWeightPtr& w) {
  return std::make_unique<FrozenLinear>(WeightInFile{w->weight().meta(), [w] { return w->weight(); }}, w->bias());
}

struct Size {
  int64_t in, out, side;
};
constexpr Size sizes[] = {{12, 12, 4},  {12, 8, 4}, {8, 12, 4}, {13, 9, 4}, {9, 13, 6},
                          {10, 10, 10}, {6, 10, 8}, {5, 7, 12}, {31, 6, 4}, {4, 30, 6}};

TEST(MoRALayer, ForwardIsTheMergedWeightForEveryOperator) {
  for (int kind = 0; kind < 8; ++kind) {
    for (const Size& s : sizes) {
      AdapterSpec spec;
      spec.op = kernels::OperatorKind(kind);
      MoRA layer(spec, s.in, s.out, s.side, 1, DType::f64);
      layer.visit_parameters([&](const std::string&, Tensor& m) { m = normal(m.shape(), 2); });
      const Tensor x = normal({7, s.in}, 3);
      Context context;
      const NoGrad no_grad;
      EXPECT_LT(worst(layer.update(x, context), matmul(x, layer.merged(), false, true)), 1e-10)
          << name_of(spec.op) << " " << s.in << " -> " << s.out << " side " << s.side;
    }
  }
}

TEST(MoRALayer, LowRankOperatorsAreExactlyALoRA) {
  for (int kind = 0; kind < 8; ++kind) {
    AdapterSpec spec;
    spec.op = kernels::OperatorKind(kind);
    MoRA layer(spec, 13, 9, 4, 1, DType::f64);
    layer.visit_parameters([&](const std::string&, Tensor& m) { m = normal(m.shape(), 2); });
    if (!layer.is_low_rank()) {
      EXPECT_THROW(layer.as_low_rank(), ConfigError) << name_of(spec.op);
      continue;
    }
    const auto [a, b, scaling] = layer.as_low_rank();
    EXPECT_EQ(scaling, 1);
    EXPECT_LT(worst(matmul(b, a), layer.merged()), 1e-10) << name_of(spec.op);
  }
}

TEST(MoRALayer, LoRAIsTheMergedWeight) {
  for (bool stabilized : {false, true}) {
    AdapterSpec spec;
    spec.kind = AdapterSpec::Kind::lora;
    spec.alpha = 10;
    spec.rank = 4;
    spec.rank_stabilized = stabilized;
    const LoRA layer(spec, normal({4, 13}, 1), normal({9, 4}, 2), 1);
    EXPECT_DOUBLE_EQ(layer.scaling(), stabilized ? 5.0 : 2.5);
    const Tensor x = normal({7, 13}, 3);
    Context context;
    const NoGrad no_grad;
    EXPECT_LT(worst(layer.update(x, context), matmul(x, layer.merged(), false, true)), 1e-10);
  }
}

TEST(MoRALayer, TheSideHasLoRAsParameterCountAndIsCapped) {
  AdapterSpec spec;
  spec.op = kernels::OperatorKind::sharing;
  EXPECT_EQ(MoRA::side_for(spec, 4096, 4096), 256);
  spec.rank = 256;
  EXPECT_EQ(MoRA::side_for(spec, 4096, 1024), 1024);
  spec.rank = 8;
  spec.op = kernels::OperatorKind::rotation;
  EXPECT_EQ(MoRA::side_for(spec, 384, 384), 78);
}

TEST(MoRALayer, TheFusedForwardIsTheLinearPlusTheUpdate) {
  const auto w = frozen(13, 9);
  const Tensor x = normal({7, 13}, 3);
  Context context;
  const NoGrad no_grad;
  auto expect_equal = [&](const MoRALayer& layer) {
    EXPECT_LT(worst(layer.forward(x, w, context), linear(x, w) + layer.update(x, context)), 1e-12);
  };
  AdapterSpec spec;
  MoRA mora(spec, 13, 9, 4, 1, DType::f64);
  mora.visit_parameters([&](const std::string&, Tensor& m) { m = normal(m.shape(), 4); });
  expect_equal(mora);
  spec.kind = AdapterSpec::Kind::lora;
  expect_equal(LoRA(spec, normal({4, 13}, 5), normal({9, 4}, 6), 1));
}

TEST(MoRALayer, EveryKindAndInitStartsAtTheFunctionOfTheModel) {
  using Kind = AdapterSpec::Kind;
  using Init = AdapterSpec::Init;
  const auto w = frozen(24, 16);
  const Tensor x = cast(normal({3, 24}, 4), DType::f32), before = linear(x, w);
  for (const auto& [kind, init] : {std::pair(Kind::mora, Init::kaiming),
                                   {Kind::lora, Init::kaiming},
                                   {Kind::lora, Init::gaussian},
                                   {Kind::lora, Init::pissa},
                                   {Kind::lora, Init::olora},
                                   {Kind::dora, Init::kaiming},
                                   {Kind::adalora, Init::kaiming},
                                   {Kind::whole, Init::kaiming}}) {
    AdapterSpec spec{.kind = kind, .rank = 4, .init = init};
    MoRALinear adapted(linear_of(w), make_layer(spec, w, 0, 1));
    Context context;
    context.training = true;
    const Tensor y = adapted.forward(x, context);
    EXPECT_LT(worst(cast(y, DType::f64), cast(before, DType::f64)), 2e-5) << name_of(kind) << " " << int(init);
    const Tensor zero = full_like(adapted.layer().merged(), 0, {16, 24});
    EXPECT_LT(worst(adapted.layer().merged(), zero), 1e-6) << name_of(kind) << " " << int(init);
  }
}

// All trained tensors normal.
void randomize(MoRALayer& layer) {
  uint64_t n = 20;
  layer.visit_parameters([&](const std::string&, Tensor& t) { t = leaf(cast(normal(t.shape(), ++n), DType::f32)); });
}

TEST(MoRALayer, TheAdaptedLinearIsTheMergedWeightForTheWholeFamily) {
  using Kind = AdapterSpec::Kind;
  using Init = AdapterSpec::Init;
  const auto w = frozen(24, 16);
  const Tensor x = normal({3, 24}, 4);
  for (const auto& [kind, init] : {std::pair(Kind::lora, Init::pissa),
                                   {Kind::lora, Init::olora},
                                   {Kind::dora, Init::kaiming},
                                   {Kind::adalora, Init::kaiming},
                                   {Kind::whole, Init::kaiming}}) {
    AdapterSpec spec{.kind = kind, .rank = 4, .alpha = 3, .init = init};
    MoRALinear adapted(linear_of(w), make_layer(spec, w, 0, 1));
    randomize(adapted.layer());
    const Tensor bias = adapted.layer().merged_bias();
    const NoGrad no_grad;
    const Tensor merged = w->weight() + adapted.layer().merged();
    const Tensor expected = matmul(x, merged, false, true) + (bias.defined() ? cast(bias, DType::f64) : w->bias());
    Context context;
    const Tensor y = cast(adapted.forward(cast(x, DType::f32), context), DType::f64);
    EXPECT_LT(worst(y, expected), 3e-4) << name_of(kind) << " " << int(init);
    if (kind == Kind::dora || kind == Kind::whole) {
      EXPECT_THROW(adapted.layer().as_low_rank(), ConfigError);
      continue;
    }
    const auto [a, b, scaling] = adapted.layer().as_low_rank();
    const Tensor product = matmul(cast(b, DType::f64), cast(a, DType::f64)) * scaling;
    EXPECT_LT(worst(product, adapted.layer().merged()), 1e-5) << name_of(kind) << " " << int(init);
  }
}

// After AdaLoRA's rank has fallen to 1 the row of A comes to norm 1 exactly, and stays.
TEST(MoRALayer, TheOrthogonalityOfOneUnitRowHasNoGradient) {
  AdaLoRA layer({.kind = AdapterSpec::Kind::adalora, .rank = 1}, Tensor::from(std::vector<float>{0, 1, 0}, {1, 3}),
                Tensor::from(std::vector<float>{0, 0.5F}, {2, 1}), Tensor::zeros({1, 1}), 1);
  Tensors factors;
  layer.visit_parameters([&](const std::string& name, Tensor& value) {
    if (name != "lora_E") factors.push_back(value);
  });
  const Tensors gradients = grad(layer.orthogonality(), factors);
  EXPECT_FLOAT_EQ(layer.orthogonality().data<float>()[0], 0.75F);  // of B alone: 1 − 0.5²
  for (const float g : gradients[0].values<float>()) EXPECT_EQ(g, 0);
  EXPECT_FLOAT_EQ(gradients[1].data<float>()[1], -1);
}

TEST(MoRALayer, PissaTakesTheLargestSingularValuesAndOLoRATheFirstColumns) {
  // W = U·diag(5, 4, 3, 0.1, …)·Vᵀ from orthonormalised random matrices, by way of OLoRA's own Q.
  const Tensor u = cast(olora_factors(normal({16, 16}, 7), 6).b, DType::f64);
  const Tensor v = cast(olora_factors(normal({24, 24}, 8), 6).b, DType::f64);
  const Tensor values = Tensor::from(std::vector<double>{5, 4, 3, 0.1, 0.05, 0.01}, {6});
  const Tensor w = matmul(u * values, v, false, true), top = slice(u * values, 1, 0, 3);
  const auto [a, b] = pissa_factors(w, 3, 2.0, 0, 1);
  const Tensor product = matmul(cast(b, DType::f64), cast(a, DType::f64)) * 2.0;
  EXPECT_LT(worst(product, matmul(contiguous(top), contiguous(slice(v, 1, 0, 3)), false, true)), 1e-6);
  const auto [r, q] = olora_factors(w, 3);
  const Tensor first = contiguous(slice(matmul(cast(q, DType::f64), cast(r, DType::f64)), 1, 0, 3));
  EXPECT_LT(worst(first, contiguous(slice(w, 1, 0, 3))), 1e-6);  // QR reproduces the columns it used
  EXPECT_THROW(olora_factors(w, 17), ConfigError);
}

}  // namespace
}  // namespace mora
