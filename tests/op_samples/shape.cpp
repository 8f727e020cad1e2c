#include "op_samples/sample.h"

namespace mora::test {

template <>
struct Samples<ops::Alias> {
  static std::vector<Sample> list() {
    return {sample("matrix", ops::Alias{}, {normal({3, 5})}), sample("empty", ops::Alias{}, {normal({0, 5})})};
  }
};

template <>
struct Samples<ops::Contiguous> {
  static std::vector<Sample> list() {
    return {sample("matrix", ops::Contiguous{}, {normal({3, 5})}),
            sample("empty", ops::Contiguous{}, {normal({0, 5})})};
  }
};

template <>
struct Samples<ops::Reshape> {
  static std::vector<Sample> list() {
    return {
        sample("split", ops::Reshape{{2, 3, 4}}, {normal({6, 4})}),
        sample("to_scalar", ops::Reshape{}, {normal({1, 1})}), sample("empty", ops::Reshape{{2, 0}}, {normal({0, 7})}),
        sample("other_count", ops::Reshape{{5}}, {normal({2, 3})}).throws("reshape: (2, 3) has 6 elements, (5) has 5")};
  }
};

template <>
struct Samples<ops::Permute> {
  static std::vector<Sample> list() {
    return {
        sample("cycle", ops::Permute{{2, 0, 1}}, {normal({2, 3, 4})}),
        sample("from_the_end", ops::Permute{{-1, 0}}, {normal({2, 3})}),
        sample("empty", ops::Permute{{1, 0}}, {normal({0, 3})}),
        sample("repeated", ops::Permute{{1, 1}}, {normal({2, 3})}).throws("permute: order (1, 1) is no permutation"),
        sample("rank", ops::Permute{{1, 0}}, {normal({2, 3, 4})})
            .throws("permute: order (1, 0) for a tensor (2, 3, 4)")};
  }
};

template <>
struct Samples<ops::Expand> {
  static std::vector<Sample> list() {
    return {
        sample("rows", ops::Expand{{4, 6}}, {normal({1, 6})}),
        sample("new_dimensions", ops::Expand{{2, 3, 4}}, {normal({3, 1})}),
        sample("scalar", ops::Expand{{3}}, {normal({})}),
        sample("to_nothing", ops::Expand{{0, 6}}, {normal({1, 6})}),
        sample("empty", ops::Expand{{2, 0}}, {normal({1, 0})}),
        sample("smaller", ops::Expand{{1, 3}}, {normal({2, 3})}).throws("expand: (2, 3) does not broadcast to (1, 3)"),
        sample("lower_rank", ops::Expand{{3}}, {normal({1, 3})}).throws("expand: (1, 3) does not broadcast to (3)")};
  }
};

template <>
struct Samples<ops::Slice> {
  static std::vector<Sample> list() {
    return {
        sample("rows", ops::Slice{0, 1, 2}, {normal({4, 6})}),
        sample("columns", ops::Slice{-1, 2, 3}, {normal({4, 6})}),
        sample("nothing", ops::Slice{1, 6, 0}, {normal({4, 6})}),
        sample("empty", ops::Slice{0, 0, 0}, {normal({0, 6})}),
        sample("beyond", ops::Slice{0, 3, 2}, {normal({4, 6})}).throws("slice: [3, 3 + 2) of dimension 0 of (4, 6)"),
        sample("before", ops::Slice{0, -1, 2}, {normal({4, 6})}).throws("slice: [-1, -1 + 2)")};
  }
};

template <>
struct Samples<ops::Embed> {
  static std::vector<Sample> list() {
    return {sample("rows", ops::Embed{0, 1, 7}, {normal({4, 6})}),
            sample("columns", ops::Embed{-1, 0, 6}, {normal({4, 6})}),
            sample("empty", ops::Embed{0, 2, 3}, {normal({0, 6})}),
            sample("beyond", ops::Embed{0, 4, 7}, {normal({4, 6})}).throws("embed: (4, 6) at 4 into 7 entries")};
  }
};

template <>
struct Samples<ops::Concat> {
  static std::vector<Sample> list() {
    return {sample("rows", ops::Concat{0}, {normal({4, 6}), normal({1, 6}), normal({2, 6})}),
            sample("columns", ops::Concat{-1}, {normal({2, 3, 1}), normal({2, 3, 5})}),
            sample("one", ops::Concat{0}, {normal({3})}),
            sample("more_than_a_word_of_bits", ops::Concat{0}, std::vector<Input>(70, normal({2}))),
            sample("empty_part", ops::Concat{0}, {normal({0, 3}), normal({2, 3})}),
            sample("empty", ops::Concat{1}, {normal({0, 3}), normal({0, 2})}),
            sample("other_shape", ops::Concat{0}, {normal({2, 3}), normal({2, 4})})
                .throws("concat: f64 (2, 4) does not fit"),
            sample("other_dtype", ops::Concat{0}, {normal({2}).as(DType::f32), normal({2}).as(DType::f64)})
                .throws("concat: f64 (2) does not fit f32 (2)"),
            sample("nothing", ops::Concat{0}, {}).throws("concat: nothing to join")};
  }
};

template <>
struct Samples<ops::Cast> {
  static std::vector<Sample> list() {
    auto widened = [](std::span<const Tensor> x) { return ops::Cast{wide(x[0].dtype())}; };
    return {sample("widened", widened, {normal({3, 5})}), sample("empty", widened, {normal({0, 5})}),
            sample("to_integers", ops::Cast{DType::i32}, {normal({2}).as(DType::f32)}).throws("cast: f32 to i32")};
  }
};

template <>
std::vector<OpSamples> samples_of<ShapeOps>() {
  return list_samples(ShapeOps{});
}

}  // namespace mora::test
