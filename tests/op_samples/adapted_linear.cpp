#include "op_samples/sample.h"

namespace mora::test {
namespace {

ops::FrozenWeightPtr weight(DType dtype, int64_t in, int64_t out) {
  return std::make_shared<const kernels::FrozenWeight>(constant({out, in}, 1, dtype), constant({out}, 2, dtype));
}

using Terms = std::vector<AdaptedTerm>;

// The op of the terms that `make` gives for a dtype; factors are inputs.
template <class Make>
auto together(Make make) {
  return [=](std::span<const Tensor> x) { return ops::AdaptedLinears{make(x[0].dtype())}; };
}

AdaptedTerm lora(DType dtype, int64_t in, int64_t out) { return lora_term(weight(dtype, in, out), {}, {}, 0.5); }
AdaptedTerm mora(DType dtype, kernels::OperatorKind kind, int64_t in, int64_t out, int64_t side) {
  return mora_term(weight(dtype, in, out), {}, {kind, in, out, side});
}

auto one_lora() {
  return together([](DType t) { return Terms{lora(t, 6, 5)}; });
}
auto one_mora(kernels::OperatorKind kind, int64_t in, int64_t out, int64_t side) {
  return together([=](DType t) { return Terms{mora(t, kind, in, out, side)}; });
}
auto one_of_each() {
  return together([](DType t) {
    return Terms{lora(t, 6, 5), plain_term(weight(t, 6, 4)), mora(t, kernels::OperatorKind::sharing, 6, 9, 4)};
  });
}

// Its backward, with the hints of a forward. Inputs are those of the op, then the gradients.
template <class Make>
auto backward(Make make, Need need) {
  return [=](std::span<const Tensor> x) {
    const ops::AdaptedLinears op = make(x);
    Tensors hs(op.terms.size());
    const auto out = apply_list(op, x.first(1 + op.factors()));
    for (size_t i = 0; i < hs.size(); ++i) hs[i] = out[ops::AdaptedLinears::most + i];
    return ops::AdaptedLinearsBackward{op, need, hs};
  };
}

using enum kernels::OperatorKind;

// x, A and B, M; and the gradients of three outputs.
std::vector<Input> inputs_of_each(int64_t rows, bool with_gradients) {
  std::vector<Input> inputs{normal({rows, 6}), normal({2, 6}), normal({5, 2}), normal({4, 4})};
  if (with_gradients)
    for (const int64_t d : {5, 4, 9}) inputs.push_back(normal({rows, d}));
  return inputs;
}

}  // namespace

template <>
struct Samples<ops::AdaptedLinears> {
  static std::vector<Sample> list() {
    return {sample("lora", one_lora(), {normal({4, 6}), normal({2, 6}), normal({5, 2})}).rounded(8),
            sample("sharing", one_mora(sharing, 6, 9, 4), {normal({4, 6}), normal({4, 4})}).rounded(8),
            sample("rotation", one_mora(rotation, 10, 7, 4), {normal({4, 10}), normal({4, 4})}).rounded(8),
            sample("one_of_each", one_of_each(), inputs_of_each(4, false)).rounded(8),
            sample("no_rows", one_of_each(), inputs_of_each(0, false)),
            sample("other_rank", one_lora(), {normal({4, 6}), normal({2, 6}), normal({5, 3})})
                .throws("lora_linear: x (4, 6), A (2, 6), B (5, 3)"),
            sample("other_side", one_mora(sharing, 6, 9, 4), {normal({4, 6}), normal({3, 3})})
                .throws("mora_linear: M (3, 3) with r̂ = 4"),
            sample("other_width", one_lora(), {normal({4, 5}), normal({2, 6}), normal({5, 2})})
                .throws("adapted_linears: x (4, 5) against W (5, 6)")};
  }
};

template <>
struct Samples<ops::AdaptedLinearsBackward> {
  static std::vector<Sample> list() {
    const std::vector<Input> of_lora = {normal({4, 6}), normal({2, 6}), normal({5, 2}), normal({4, 5})};
    const std::vector<Input> of_mora = {normal({4, 6}), normal({4, 4}), normal({4, 9})};
    return {sample("lora", backward(one_lora(), {0b111}), of_lora),
            sample("lora_of_frozen_x", backward(one_lora(), {0b110}), of_lora),
            sample("mora", backward(one_mora(decouple, 6, 9, 4), {0b11}), of_mora),
            sample("mora_of_frozen_x", backward(one_mora(sharing, 6, 9, 4), {0b10}), of_mora),
            sample("one_of_each", backward(one_of_each(), {0b1111}), inputs_of_each(4, true)).rounded(4),
            sample("x_alone", backward(one_of_each(), {0b1}), inputs_of_each(4, true)).rounded(4),
            sample("no_rows", backward(one_of_each(), {0b1111}), inputs_of_each(0, true)),
            sample("other_gradient", backward(one_lora(), {0b111}),
                   {normal({4, 6}), normal({2, 6}), normal({5, 2}), normal({4, 4})})
                .throws("adapted_linears_backward: gy (4, 4)")};
  }
};

template <>
std::vector<OpSamples> samples_of<AdaptedLinearOps>() {
  return list_samples(AdaptedLinearOps{});
}

}  // namespace mora::test
