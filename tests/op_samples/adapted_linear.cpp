#include "op_samples/sample.h"

namespace mora::test {
namespace {

ops::FrozenWeightPtr weight(DType dtype, int64_t in, int64_t out) {
  return std::make_shared<const kernels::FrozenWeight>(constant({out, in}, 1, dtype), constant({out}, 2, dtype));
}

auto lora(int64_t in, int64_t out) {
  return [=](std::span<const Tensor> x) { return ops::LoraLinear{weight(x[0].dtype(), in, out), 0.5}; };
}
auto lora_backward(int64_t in, int64_t out, Need need) {
  return [=](std::span<const Tensor> x) {
    const auto op = lora(in, out)(x);
    return ops::LoraLinearBackward{op, need, apply(op, x[0], x[1], x[2])[1]};
  };
}

auto mora(kernels::OperatorKind kind, int64_t in, int64_t out, int64_t side) {
  return [=](std::span<const Tensor> x) {
    return ops::MoraLinear{weight(x[0].dtype(), in, out), {kind, in, out, side}};
  };
}
auto mora_backward(kernels::OperatorKind kind, int64_t in, int64_t out, int64_t side, Need need) {
  return [=](std::span<const Tensor> x) { return ops::MoraLinearBackward{mora(kind, in, out, side)(x), need}; };
}

using enum kernels::OperatorKind;

}  // namespace

template <>
struct Samples<ops::LoraLinear> {
  static std::vector<Sample> list() {
    return {sample("rows", lora(6, 5), {normal({4, 6}), normal({2, 6}), normal({5, 2})}).rounded(8),
            sample("no_rows", lora(6, 5), {normal({0, 6}), normal({2, 6}), normal({5, 2})}),
            sample("other_rank", lora(6, 5), {normal({4, 6}), normal({2, 6}), normal({5, 3})})
                .throws("lora_linear: x (4, 6), A (2, 6), B (5, 3)")};
  }
};

template <>
struct Samples<ops::LoraLinearBackward> {
  static std::vector<Sample> list() {
    const std::vector<Input> inputs = {normal({4, 6}), normal({2, 6}), normal({5, 2}), normal({4, 5})};
    return {sample("all", lora_backward(6, 5, {0b111}), inputs),
            sample("frozen_x", lora_backward(6, 5, {0b110}), inputs),
            sample("no_rows", lora_backward(6, 5, {0b111}),
                   {normal({0, 6}), normal({2, 6}), normal({5, 2}), normal({0, 5})}),
            sample("other_gradient", lora_backward(6, 5, {0b111}),
                   {normal({4, 6}), normal({2, 6}), normal({5, 2}), normal({4, 4})})
                .throws("lora_linear_backward: gy (4, 4)")};
  }
};

template <>
struct Samples<ops::MoraLinear> {
  static std::vector<Sample> list() {
    return {sample("sharing", mora(sharing, 6, 9, 4), {normal({4, 6}), normal({4, 4})}).rounded(8),
            sample("rotation", mora(rotation, 10, 7, 4), {normal({4, 10}), normal({4, 4})}).rounded(8),
            sample("no_rows", mora(group, 6, 9, 4), {normal({0, 6}), normal({4, 4})}),
            sample("other_side", mora(sharing, 6, 9, 4), {normal({4, 6}), normal({3, 3})})
                .throws("mora_linear: M (3, 3) with r̂ = 4")};
  }
};

template <>
struct Samples<ops::MoraLinearBackward> {
  static std::vector<Sample> list() {
    const std::vector<Input> inputs = {normal({4, 6}), normal({4, 4}), normal({4, 9})};
    return {
        sample("all", mora_backward(decouple, 6, 9, 4, {0b11}), inputs),
        sample("frozen_x", mora_backward(sharing, 6, 9, 4, {0b10}), inputs),
        sample("no_rows", mora_backward(sharing, 6, 9, 4, {0b11}), {normal({0, 6}), normal({4, 4}), normal({0, 9})}),
        sample("other_gradient", mora_backward(sharing, 6, 9, 4, {0b11}),
               {normal({4, 6}), normal({4, 4}), normal({4, 8})})
            .throws("mora_linear_backward: gy (4, 8)")};
  }
};

template <>
std::vector<OpSamples> samples_of<AdaptedLinearOps>() {
  return list_samples(AdaptedLinearOps{});
}

}  // namespace mora::test
