#include "op_samples/sample.h"

namespace mora::test {
namespace {

template <class Op>
std::vector<Sample> elementary_samples(Input (*input)(const Shape&) = normal) {
  return {sample("matrix", Op{}, {input({3, 5})}), sample("scalar", Op{}, {input({})}),
          sample("long", Op{}, {input({333})}).rounded(2), sample("empty", Op{}, {input({0, 4})}),
          sample("integers", Op{}, {input({2}).as(DType::i32)})
              .throws(std::string(Op::name) + ": expected a floating dtype, not i32")};
}

template <class Op>
std::vector<Sample> backward_samples() {
  return {sample("matrix", Op{}, {normal({3, 5}), normal({3, 5})}),
          sample("long", Op{}, {normal({333}), normal({333})}), sample("empty", Op{}, {normal({0, 4}), normal({0, 4})}),
          sample("other_shape", Op{}, {normal({2, 3}), normal({3, 2})})
              .throws(std::string(Op::name) + ": x (2, 3) against gy (3, 2)")};
}

constexpr bool needs_positive(kernels::Unary f) {
  using kernels::Unary;
  return f == Unary::log || f == Unary::sqrt || f == Unary::rsqrt || f == Unary::reciprocal;
}

}  // namespace

template <kernels::Unary F>
struct Samples<ops::Elementary<F>> {
  static std::vector<Sample> list() {
    return elementary_samples<ops::Elementary<F>>(needs_positive(F) ? positive : normal);
  }
};
template <>
struct Samples<ops::Sign> {
  static std::vector<Sample> list() { return elementary_samples<ops::Sign>(); }
};
template <>
struct Samples<ops::Step> {
  static std::vector<Sample> list() { return elementary_samples<ops::Step>(); }
};
template <kernels::Unary F>
struct Samples<ops::ActivationFunction<F>> {
  static std::vector<Sample> list() { return elementary_samples<ops::ActivationFunction<F>>(); }
};
template <kernels::Unary F>
struct Samples<ops::ActivationBackward<F>> {
  static std::vector<Sample> list() { return backward_samples<ops::ActivationBackward<F>>(); }
};

template <>
std::vector<OpSamples> samples_of<ElementaryOps>() {
  return list_samples(ElementaryOps{});
}
template <>
std::vector<OpSamples> samples_of<ActivationOps>() {
  return list_samples(ActivationOps{});
}

}  // namespace mora::test
