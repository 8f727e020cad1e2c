#include "op_samples/sample.h"

namespace mora::test {
namespace {

constexpr double eps = 1e-5;

// A backward with the statistics that the forward left, for the gradients that `need` names.
auto layer_norm_backward(Need need) {
  return [need](std::span<const Tensor> x) {
    const auto y = apply(ops::LayerNorm{eps}, x[0], x[1], x[2]);
    return ops::LayerNormBackward{eps, need, y[1], y[2]};
  };
}
auto rms_norm_backward(Need need) {
  return [need](std::span<const Tensor> x) {
    return ops::RmsNormBackward{eps, need, apply(ops::RmsNorm{eps}, x[0], x[1])[1]};
  };
}

}  // namespace

template <>
struct Samples<ops::LayerNorm> {
  static std::vector<Sample> list() {
    const ops::LayerNorm op{eps};
    return {
        sample("rows", op, {normal({4, 6}), normal({6}), normal({6})}),
        sample("long_rows", op, {normal({3, 130}), normal({130}), normal({130})}),
        sample("f32_weights", op, {normal({4, 6}), parameter({6}), parameter({6})}),
        sample("no_rows", op, {normal({0, 6}), normal({6}), normal({6})}),
        sample("other_width", op, {normal({4, 6}), normal({5}), normal({5})}).throws("layer_norm: x (4, 6) with w (5)"),
        sample("vector", op, {normal({6}), normal({6}), normal({6})}).throws("layer_norm: x (6) with w (6)"),
        sample("other_dtype", op,
               {normal({4, 6}).as(DType::f32), normal({6}).as(DType::f64), normal({6}).as(DType::f64)})
            .throws("layer_norm: x f32 with w f64")};
  }
};

template <>
struct Samples<ops::LayerNormBackward> {
  static std::vector<Sample> list() {
    const std::vector<Input> rows{normal({4, 6}), normal({6}), normal({6}), normal({4, 6})};
    return {sample("all", layer_norm_backward({0b111}), rows), sample("input_only", layer_norm_backward({0b001}), rows),
            sample("weights_only", layer_norm_backward({0b110}), rows),
            sample("no_rows", layer_norm_backward({0b111}), {normal({0, 6}), normal({6}), normal({6}), normal({0, 6})}),
            sample("other_gradient", layer_norm_backward({0b111}),
                   {normal({4, 6}), normal({6}), normal({6}), normal({4, 5})})
                .throws("layer_norm_backward: x (4, 6) with gy (4, 5)")};
  }
};

template <>
struct Samples<ops::RmsNorm> {
  static std::vector<Sample> list() {
    const ops::RmsNorm op{eps};
    return {sample("rows", op, {normal({4, 6}), normal({6})}),
            sample("long_rows", op, {normal({3, 130}), normal({130})}),
            sample("f32_weights", op, {normal({4, 6}), parameter({6})}),
            sample("no_rows", op, {normal({0, 6}), normal({6})}),
            sample("other_width", op, {normal({4, 6}), normal({5})}).throws("rms_norm: x (4, 6) with w (5)"),
            sample("integers", op, {normal({4, 6}).as(DType::i32), normal({6}).as(DType::i32)})
                .throws("rms_norm: x i32 with w i32")};
  }
};

template <>
struct Samples<ops::RmsNormBackward> {
  static std::vector<Sample> list() {
    const std::vector<Input> rows{normal({4, 6}), normal({6}), normal({4, 6})};
    return {sample("all", rms_norm_backward({0b11}), rows), sample("input_only", rms_norm_backward({0b01}), rows),
            sample("weight_only", rms_norm_backward({0b10}), rows),
            sample("no_rows", rms_norm_backward({0b11}), {normal({0, 6}), normal({6}), normal({0, 6})}),
            sample("other_gradient", rms_norm_backward({0b11}), {normal({4, 6}), normal({6}), normal({4, 5})})
                .throws("rms_norm_backward: x (4, 6) with gy (4, 5)")};
  }
};

template <>
std::vector<OpSamples> samples_of<NormOps>() {
  return list_samples(NormOps{});
}

}  // namespace mora::test
