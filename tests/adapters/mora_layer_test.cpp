// Layers against their merged weights: forward(x) = x·ΔWᵀ, in f64.
#include <gtest/gtest.h>

#include <cmath>

#include "autograd/ops/arithmetic.h"
#include "autograd/ops/matmul.h"
#include "mora/adapters/lora.h"
#include "mora/adapters/mora.h"

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
    const auto [a, b] = layer.as_low_rank();
    EXPECT_LT(worst(matmul(b, a), layer.merged()), 1e-10) << name_of(spec.op);
  }
}

TEST(MoRALayer, LoRAIsTheMergedWeight) {
  for (bool stabilized : {false, true}) {
    AdapterSpec spec;
    spec.kind = AdapterSpec::Kind::lora;
    spec.alpha = 10;
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
  const auto w = std::make_shared<const kernels::FrozenWeight>(normal({9, 13}, 1), normal({9}, 2));
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

TEST(MoRALayer, AFreshLayerAddsNothing) {
  for (auto kind : {AdapterSpec::Kind::mora, AdapterSpec::Kind::lora}) {
    AdapterSpec spec;
    spec.kind = kind;
    const auto layer = make_layer(spec, 24, 16, 0, 1);
    Context context;
    context.training = true;
    const Tensor y = layer->update(Tensor::from(std::vector<float>(48, 1.f), {2, 24}), context);
    for (float v : y.values<float>()) EXPECT_EQ(v, 0.f);
  }
}

}  // namespace
}  // namespace mora
