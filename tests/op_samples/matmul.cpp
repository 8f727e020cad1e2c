#include "op_samples/sample.h"

namespace mora::test {
namespace {

// A frozen weight (3, 6), with a bias where asked, in the dtype of the input.
auto frozen_weight(DType dtype, bool bias) {
  return std::make_shared<const kernels::FrozenWeight>(constant({3, 6}, 1, dtype),
                                                       bias ? constant({3}, 2, dtype) : Tensor());
}
auto frozen(bool bias) {
  return [bias](std::span<const Tensor> x) { return ops::FrozenLinear{frozen_weight(x[0].dtype(), bias)}; };
}
ops::FrozenLinearAdjoint adjoint(std::span<const Tensor> gy) { return {frozen_weight(gy[0].dtype(), true)}; }

// A head of three classes over rows of six; a negative label is ignored.
auto head(const std::vector<int32_t>& labels) {
  return [labels = Labelled(indices(labels)).to(sample_device())](std::span<const Tensor> x) {
    return ops::LinearCrossEntropy{frozen_weight(x[0].dtype(), false), labels, true};
  };
}
auto head_backward(const std::vector<int32_t>& labels) {
  return [forward = head(labels)](std::span<const Tensor> x) {
    const auto op = forward(x);
    return ops::LinearCrossEntropyBackward{op, apply(op, x[0])[1]};
  };
}

}  // namespace

template <>
struct Samples<ops::Matmul> {
  static std::vector<Sample> list() {
    using Op = ops::Matmul;
    return {sample("plain", Op{}, {normal({3, 4}), normal({4, 2})}),
            sample("transposed_a", Op{true, false}, {normal({4, 3}), normal({4, 2})}),
            sample("transposed_b", Op{false, true}, {normal({3, 4}), normal({2, 4})}),
            sample("transposed_both", Op{true, true}, {normal({4, 3}), normal({2, 4})}),
            sample("wide", Op{}, {normal({5, 40}), normal({40, 33})}),
            sample("no_rows", Op{}, {normal({0, 4}), normal({4, 2})}),
            sample("over_nothing", Op{}, {normal({3, 0}), normal({0, 2})}),
            sample("inner", Op{}, {normal({3, 4}), normal({3, 2})}).throws("matmul: (3, 4) against (3, 2)"),
            sample("inner_transposed", Op{true, true}, {normal({3, 4}), normal({3, 4})})
                .throws("matmul: (3, 4)ᵀ against (3, 4)ᵀ"),
            sample("vector", Op{}, {normal({4}), normal({4, 2})}).throws("matmul: expected two matrices, not (4)"),
            sample("two_dtypes", Op{}, {normal({2, 2}).as(DType::f32), normal({2, 2}).as(DType::f64)})
                .throws("matmul: f32 against f64")};
  }
};

template <>
struct Samples<ops::FrozenLinear> {
  static std::vector<Sample> list() {
    return {sample("bias", frozen(true), {normal({4, 6})}), sample("no_bias", frozen(false), {normal({5, 6})}),
            sample("no_rows", frozen(true), {normal({0, 6})}),
            sample("other_width", frozen(true), {normal({4, 5})}).throws("frozen_linear: x (4, 5) against W (3, 6)"),
            sample("integers", [](auto) { return ops::FrozenLinear{frozen_weight(DType::f32, true)}; },
                   {normal({4, 6}).as(DType::i32)})
                .throws("frozen_linear: expected a floating dtype, not i32")};
  }
};

template <>
struct Samples<ops::FrozenLinearAdjoint> {
  static std::vector<Sample> list() {
    return {
        sample("rows", adjoint, {normal({4, 3})}), sample("no_rows", adjoint, {normal({0, 3})}),
        sample("other_width", adjoint, {normal({4, 5})}).throws("frozen_linear_adjoint: gy (4, 5) against W (3, 6)")};
  }
};

template <>
struct Samples<ops::LinearCrossEntropy> {
  static std::vector<Sample> list() {
    return {sample("ignored_row", head({2, -100, 0, 1}), {normal({4, 6})}),
            sample("nothing_labelled", head({-1, -1}), {normal({2, 6})}), sample("no_rows", head({}), {normal({0, 6})}),
            sample("label_beyond", head({3}), {normal({1, 6})}).throws("cross_entropy: label 3 of 3 classes"),
            sample("other_width", head({0}), {normal({1, 5})}).throws("linear_cross_entropy: x (1, 5), W (3, 6)")};
  }
};

template <>
struct Samples<ops::LinearCrossEntropyBackward> {
  static std::vector<Sample> list() {
    return {sample("ignored_row", head_backward({2, -100, 0, 1}), {normal({4, 6}), parameter({4})}),
            sample("no_rows", head_backward({}), {normal({0, 6}), parameter({0})}),
            sample("other_gradient", head_backward({2, 0}), {normal({2, 6}), parameter({3})})
                .throws("linear_cross_entropy_backward: x (2, 6) with gloss (3)")};
  }
};

template <>
std::vector<OpSamples> samples_of<LinearCrossEntropyOps>() {
  return list_samples(LinearCrossEntropyOps{});
}
template <>
std::vector<OpSamples> samples_of<MatmulOps>() {
  return list_samples(MatmulOps{});
}

}  // namespace mora::test
