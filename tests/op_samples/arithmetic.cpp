#include "op_samples/sample.h"

namespace mora::test {
namespace {

// Two operands of every kind of shape that broadcasting knows.
template <class Op>
std::vector<Sample> binary_samples(Op op, Input (*second)(const Shape&) = normal) {
  const std::string name(Op::name);
  return {sample("same_shape", op, {normal({3, 5}), second({3, 5})}),
          sample("both_stretched", op, {normal({3, 1, 4}), second({2, 1})}),
          sample("scalar", op, {normal({3, 4}), second({})}),
          sample("long_rows", op, {normal({2, 300}), second({300})}).rounded(4),
          sample("no_rows", op, {normal({0, 4}), second({4})}),
          sample("stretched_to_nothing", op, {normal({2, 0}), second({2, 1})}),
          sample("other_shape", op, {normal({2, 3}), second({2})})
              .throws(name + ": shapes (2, 3) and (2) do not broadcast"),
          sample("two_dtypes", op, {normal({2}).as(DType::f32), second({2}).as(DType::f64)})
              .throws(name + ": f32 against f64"),
          sample("integers", op, {normal({2}).as(DType::i32), second({2}).as(DType::i32)})
              .throws(name + ": expected a floating dtype, not i32")};
}

template <class Op>
std::vector<Sample> unary_samples(Op op, Input (*input)(const Shape&) = normal) {
  return {sample("matrix", op, {input({3, 5})}), sample("scalar", op, {input({})}),
          sample("empty", op, {input({0, 4})}),
          sample("integers", op, {input({2}).as(DType::i32)})
              .throws(std::string(Op::name) + ": expected a floating dtype, not i32")};
}

}  // namespace

template <>
struct Samples<ops::Add> {
  static std::vector<Sample> list() { return binary_samples(ops::Add{}); }
};
template <>
struct Samples<ops::Sub> {
  static std::vector<Sample> list() { return binary_samples(ops::Sub{}); }
};
template <>
struct Samples<ops::Mul> {
  static std::vector<Sample> list() { return binary_samples(ops::Mul{}); }
};
template <>
struct Samples<ops::Div> {
  static std::vector<Sample> list() { return binary_samples(ops::Div{}, positive); }
};
template <>
struct Samples<ops::Maximum> {
  static std::vector<Sample> list() { return binary_samples(ops::Maximum{}); }
};

template <>
struct Samples<ops::Where> {
  static std::vector<Sample> list() {
    const ops::Where op;
    return {sample("same_shape", op, {boolean({3, 5}), normal({3, 5}), normal({3, 5})}),
            sample("all_stretched", op, {boolean({3, 1, 1}), normal({2, 1}), normal({4})}),
            sample("no_rows", op, {boolean({0, 1}), normal({4}), normal({})}),
            sample("floating_condition", op, {normal({2}).as(DType::f32), normal({2}), normal({2})})
                .throws("where: the condition is f32, not bool"),
            sample("other_shape", op, {boolean({3}), normal({2}), normal({2})})
                .throws("where: shapes (3) and (2) do not broadcast")};
  }
};

template <>
struct Samples<ops::Affine> {
  static std::vector<Sample> list() { return unary_samples(ops::Affine{-2.5, 1}); }
};

template <>
struct Samples<ops::Power> {
  static std::vector<Sample> list() {
    auto list = unary_samples(ops::Power{2.5}, positive);
    for (const double exponent : {0.0, 1.0, 2.0, 3.0})  // with derivatives that end
      list.push_back(sample("exponent_" + std::to_string(int(exponent)), ops::Power{exponent}, {normal({2, 3})}));
    list.push_back(sample("exponent_minus_half", ops::Power{-0.5}, {positive({2, 3})}));
    return list;
  }
};

template <>
struct Samples<ops::Clamp> {
  static std::vector<Sample> list() { return unary_samples(ops::Clamp{-0.5, 0.7}); }
};

template <>
struct Samples<ops::Compare> {
  static std::vector<Sample> list() {
    const ops::Compare op{kernels::Compare::greater};
    return {
        sample("stretched", op, {normal({3, 1}), normal({4})}), sample("no_rows", op, {normal({0, 4}), normal({})}),
        sample("other_shape", op, {normal({2}), normal({3})}).throws("compare: shapes (2) and (3) do not broadcast"),
        sample("two_dtypes", op, {normal({2}).as(DType::f32), normal({2}).as(DType::f64)})
            .throws("compare: f32 against f64")};
  }
};

template <>
std::vector<OpSamples> samples_of<ArithmeticOps>() {
  return list_samples(ArithmeticOps{});
}

}  // namespace mora::test
