#include "op_samples/sample.h"

namespace mora::test {
namespace {

// Three sequences of three, no and one row; two heads of keys for four of queries, or as many.
ops::Attention packed(const kernels::AttentionShape& shape) {
  return {indices({0, 3, 3, 4}), indices({0, 3, 3, 4}), shape};
}
// Queries that continue a cache: two of five keys' last, and one of one.
ops::Attention cached(const kernels::AttentionShape& shape) { return {indices({0, 2, 3}), indices({0, 5, 6}), shape}; }

constexpr kernels::AttentionShape all{.scale = 0.4}, causal{.scale = 0.4, .causal = true},
    window{.scale = 0.4, .causal = true, .window = 2};

std::vector<Input> inputs(int64_t queries, int64_t keys, int64_t heads, int64_t groups, int64_t size) {
  return {normal({queries, heads, size}), normal({keys, groups, size}), normal({keys, groups, size})};
}

auto backward(const ops::Attention& op) {
  return [op](std::span<const Tensor> x) {
    const auto [y, lse] = apply(op, x[0], x[1], x[2]);
    return ops::AttentionBackward{op, y.detach(), lse};
  };
}
std::vector<Input> with_gradient(std::vector<Input> list) {
  list.push_back(list.front());
  return list;
}

auto rotary(bool inverse, const std::vector<int32_t>& positions) {
  return [inverse, positions = ints(positions)](std::span<const Tensor> x) {
    const DType table = wide(x[0].dtype());
    return ops::Rotary{positions, constant({5, 3}, 7, table), constant({5, 3}, 8, table), inverse};
  };
}

}  // namespace

template <>
struct Samples<ops::Attention> {
  static std::vector<Sample> list() {
    const ops::Attention no_rows{indices({0, 0}), indices({0, 0}), all}, no_keys{indices({0, 2}), indices({0, 0}), all};
    return {sample("bidirectional", packed(all), inputs(4, 4, 2, 2, 6)),
            sample("grouped", packed(all), inputs(4, 4, 4, 2, 6)),
            sample("causal", packed(causal), inputs(4, 4, 4, 2, 6)),
            sample("cached", cached(causal), inputs(3, 6, 2, 1, 4)),
            sample("window", cached(window), inputs(3, 6, 2, 2, 4)),
            sample("no_rows", no_rows, inputs(0, 0, 2, 2, 6)),
            sample("no_keys", no_keys, inputs(2, 0, 2, 2, 6)),
            sample("heads", packed(all), inputs(4, 4, 3, 2, 6)).throws("attention: q (4, 3, 6), k (4, 2, 6)"),
            sample("offsets", packed(all), inputs(5, 5, 2, 2, 6))
                .throws("attention: the query offsets must rise from 0 to 5"),
            sample("batches", ops::Attention{indices({0, 4}), indices({0, 2, 4}), all}, inputs(4, 4, 2, 2, 6))
                .throws("attention: 2 query offsets, 3 key offsets"),
            sample("window_without_causal", packed({.scale = 1, .causal = false, .window = 2}), inputs(4, 4, 2, 2, 6))
                .throws("attention: a window")};
  }
};

template <>
struct Samples<ops::AttentionBackward> {
  static std::vector<Sample> list() {
    auto wrong = inputs(4, 4, 2, 2, 6);
    wrong.push_back(normal({4, 2, 5}));
    const ops::Attention no_rows{indices({0, 0}), indices({0, 0}), all};
    return {sample("bidirectional", backward(packed(all)), with_gradient(inputs(4, 4, 2, 2, 6))),
            sample("grouped_causal", backward(packed(causal)), with_gradient(inputs(4, 4, 4, 2, 6))),
            sample("window", backward(cached(window)), with_gradient(inputs(3, 6, 2, 2, 4))),
            sample("no_rows", backward(no_rows), with_gradient(inputs(0, 0, 2, 2, 6))),
            sample("other_gradient", backward(packed(all)), wrong)
                .throws("attention_backward: q (4, 2, 6) with gy (4, 2, 5)")};
  }
};

template <>
struct Samples<ops::Rotary> {
  static std::vector<Sample> list() {
    return {sample("forward", rotary(false, {0, 1, 2, 0}), {normal({4, 2, 6})}),
            sample("inverse", rotary(true, {4, 0, 1, 3}), {normal({4, 2, 6})}),
            sample("no_rows", rotary(false, {}), {normal({0, 2, 6})}),
            sample("odd", rotary(false, {0}), {normal({1, 2, 5})}).throws("rotary: x (1, 2, 5)"),
            sample("positions", rotary(false, {0, 1}), {normal({3, 2, 6})})
                .throws("rotary: x (3, 2, 6) with 2 positions and a table (5, 3)"),
            sample("position_beyond", rotary(false, {5}), {normal({1, 2, 6})}).throws("rotary: position 5"),
            sample("integers", rotary(false, {0}), {normal({1, 2, 6}).as(DType::i32)})
                .throws("rotary: expected a floating dtype, not i32")};
  }
};

template <>
std::vector<OpSamples> samples_of<AttentionOps>() {
  return list_samples(AttentionOps{});
}

}  // namespace mora::test
