// Every op, by the header it stands in. tests/op_samples holds samples of each: an op of this list without samples does
// not compile, and an op of autograd/ops that is missing here fails tests/autograd/all_ops_test.cpp.
#pragma once

#include "autograd/ops/adapted_linear.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/attention.h"
#include "autograd/ops/cross_entropy.h"
#include "autograd/ops/dropout.h"
#include "autograd/ops/elementary.h"
#include "autograd/ops/embedding.h"
#include "autograd/ops/grouped.h"
#include "autograd/ops/linear_cross_entropy.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/mora_operator.h"
#include "autograd/ops/norm.h"
#include "autograd/ops/reduce.h"
#include "autograd/ops/shape.h"
#include "autograd/ops/softmax.h"
#include "autograd/ops/swiglu.h"

namespace mora {

template <class... Ops>
struct OpList {};

template <class... A, class... B>
constexpr OpList<A..., B...> operator+(OpList<A...>, OpList<B...>) {
  return {};
}

using AdaptedLinearOps = OpList<ops::AdaptedLinears, ops::AdaptedLinearsBackward>;
using ArithmeticOps = OpList<ops::Add, ops::Sub, ops::Mul, ops::Div, ops::Maximum, ops::Where, ops::Affine, ops::Power,
                             ops::Clamp, ops::Compare>;
using AttentionOps = OpList<ops::Attention, ops::AttentionBackward, ops::Rotary>;
using CrossEntropyOps = OpList<ops::CrossEntropy, ops::CrossEntropyBackward>;
using DropoutOps = OpList<ops::Dropout>;
using ElementaryOps =
    OpList<ops::Exp, ops::Log, ops::Sqrt, ops::Rsqrt, ops::Reciprocal, ops::Square, ops::Tanh, ops::Sigmoid, ops::Erf,
           ops::Sin, ops::Cos, ops::Relu, ops::Absolute, ops::Sign, ops::Step>;
using ActivationOps =
    OpList<ops::Gelu, ops::GeluTanh, ops::Silu, ops::GeluBackward, ops::GeluTanhBackward, ops::SiluBackward>;
using EmbeddingOps = OpList<ops::GatherRows, ops::ScatterRows>;
using GroupedOps = OpList<ops::GatherProducts, ops::ScatterProducts, ops::OuterProducts>;
using LinearCrossEntropyOps = OpList<ops::LinearCrossEntropy, ops::LinearCrossEntropyBackward>;
using MatmulOps = OpList<ops::Matmul, ops::FrozenLinear, ops::FrozenLinearAdjoint>;
using MoraOperatorOps =
    OpList<ops::MoraCompress, ops::MoraCompressAdjoint, ops::MoraDecompress, ops::MoraDecompressAdjoint>;
using NormOps = OpList<ops::LayerNorm, ops::LayerNormBackward, ops::RmsNorm, ops::RmsNormBackward>;
using ReduceOps = OpList<ops::Sum, ops::Amax, ops::Argmax, ops::SegmentMean, ops::SegmentMeanAdjoint>;
using ShapeOps = OpList<ops::Alias, ops::Contiguous, ops::Reshape, ops::Permute, ops::Expand, ops::Slice, ops::Embed,
                        ops::Concat, ops::Cast>;
using SoftmaxOps = OpList<ops::Softmax, ops::SoftmaxBackward, ops::LogSoftmax, ops::LogSoftmaxBackward>;
using SwigluOps = OpList<ops::Swiglu, ops::SwigluBackward>;

using AllOps = decltype(AdaptedLinearOps{} + ArithmeticOps{} + AttentionOps{} + CrossEntropyOps{} + DropoutOps{} +
                        ElementaryOps{} + ActivationOps{} + EmbeddingOps{} + GroupedOps{} + LinearCrossEntropyOps{} +
                        MatmulOps{} + MoraOperatorOps{} + NormOps{} + ReduceOps{} + ShapeOps{} + SoftmaxOps{} +
                        SwigluOps{});

}  // namespace mora
