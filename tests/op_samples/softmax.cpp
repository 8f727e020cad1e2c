#include "op_samples/sample.h"

namespace mora::test {
namespace {

template <class Op>
std::vector<Sample> softmax_samples() {
  const std::string name(Op::name);
  return {
      sample("rows", Op{}, {normal({3, 5})}),
      sample("long_rows", Op{}, {normal({2, 333})}),
      sample("vector", Op{}, {normal({7})}),
      sample("three_dimensions", Op{}, {normal({2, 3, 4})}),
      sample("no_rows", Op{}, {normal({0, 5})}),
      sample("scalar", Op{}, {normal({})}).throws(name + ": a scalar has no last dimension"),
      sample("integers", Op{}, {normal({2, 2}).as(DType::i32)}).throws(name + ": expected a floating dtype, not i32")};
}

template <class Op>
std::vector<Sample> backward_samples() {
  return {sample("rows", Op{}, {normal({3, 5}), normal({3, 5})}),
          sample("long_rows", Op{}, {normal({2, 333}), normal({2, 333})}),
          sample("no_rows", Op{}, {normal({0, 5}), normal({0, 5})}),
          sample("other_shape", Op{}, {normal({3, 5}), normal({3, 4})})
              .throws(std::string(Op::name) + ": y (3, 5) against gy (3, 4)")};
}

const std::vector<int32_t> labels{2, -100, 0, 5};  // of six classes; a negative label is ignored

ops::CrossEntropyBackward cross_entropy_backward(std::span<const Tensor> x) {
  return {ints(labels), apply(ops::CrossEntropy{ints(labels)}, x[0])[1]};
}

}  // namespace

template <>
struct Samples<ops::Softmax> {
  static std::vector<Sample> list() { return softmax_samples<ops::Softmax>(); }
};
template <>
struct Samples<ops::LogSoftmax> {
  static std::vector<Sample> list() { return softmax_samples<ops::LogSoftmax>(); }
};
template <>
struct Samples<ops::SoftmaxBackward> {
  static std::vector<Sample> list() { return backward_samples<ops::SoftmaxBackward>(); }
};
template <>
struct Samples<ops::LogSoftmaxBackward> {
  static std::vector<Sample> list() { return backward_samples<ops::LogSoftmaxBackward>(); }
};

template <>
struct Samples<ops::CrossEntropy> {
  static std::vector<Sample> list() {
    using Op = ops::CrossEntropy;
    return {sample("ignored_row", Op{ints(labels)}, {normal({4, 6})}),
            sample("long_rows", Op{ints({332, 0})}, {normal({2, 333})}),
            sample("no_rows", Op{ints({})}, {normal({0, 6})}),
            sample("label_beyond", Op{ints({1, 6})}, {normal({2, 6})}).throws("cross_entropy: label 6 of 6 classes"),
            sample("other_count", Op{ints(labels)}, {normal({3, 6})})
                .throws("cross_entropy: logits (3, 6) with labels (4)"),
            sample("integers", Op{ints({1})}, {normal({1, 6}).as(DType::i32)})
                .throws("cross_entropy: expected a floating dtype, not i32")};
  }
};

template <>
struct Samples<ops::CrossEntropyBackward> {
  static std::vector<Sample> list() {
    auto empty = [](std::span<const Tensor> x) {
      return ops::CrossEntropyBackward{ints({}), Tensor::empty({0}, wide(x[0].dtype()), x[0].device())};
    };
    return {sample("ignored_row", cross_entropy_backward, {normal({4, 6}), parameter({4})}),
            sample("no_rows", empty, {normal({0, 6}), parameter({0})}),
            sample("other_gradient", cross_entropy_backward, {normal({4, 6}), parameter({3})})
                .throws("cross_entropy_backward: x (4, 6) with gloss (3)")};
  }
};

template <>
std::vector<OpSamples> samples_of<SoftmaxOps>() {
  return list_samples(SoftmaxOps{});
}
template <>
std::vector<OpSamples> samples_of<CrossEntropyOps>() {
  return list_samples(CrossEntropyOps{});
}

}  // namespace mora::test
