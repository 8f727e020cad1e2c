#include "op_samples/sample.h"

namespace mora::test {
namespace {

const std::vector<int32_t> ends{0, 1, 1, 4, 6};  // a sequence of one row, none, three, two

template <class Op>
std::vector<Sample> reduction_samples() {
  return {sample("all", Op{0b11}, {normal({3, 5})}),
          sample("rows", Op{0b10}, {normal({3, 37})}),
          sample("columns", Op{0b01}, {normal({3, 37})}),
          sample("outer_and_inner", Op{0b101}, {normal({2, 3, 4})}),
          sample("none", Op{0}, {normal({2, 3})}),
          sample("scalar", Op{0}, {normal({})}),
          sample("empty_kept", Op{0b10}, {normal({0, 4})}),
          sample("integers", Op{0b1}, {normal({2}).as(DType::i32)})
              .throws(std::string(Op::name) + ": expected a floating dtype, not i32")};
}

}  // namespace

template <>
struct Samples<ops::Sum> {
  static std::vector<Sample> list() {
    auto list = reduction_samples<ops::Sum>();
    list.push_back(sample("over_nothing", ops::Sum{0b01}, {normal({0, 4})}));
    return list;
  }
};

template <>
struct Samples<ops::Amax> {
  static std::vector<Sample> list() {
    auto list = reduction_samples<ops::Amax>();
    list.push_back(sample("over_nothing", ops::Amax{0b01}, {normal({0, 4})})
                       .throws("amax: nothing to take a maximum of in (0, 4)"));
    return list;
  }
};

template <>
struct Samples<ops::Argmax> {
  static std::vector<Sample> list() {
    return {
        sample("rows", ops::Argmax{}, {normal({4, 19})}), sample("no_rows", ops::Argmax{}, {normal({0, 3})}),
        sample("no_columns", ops::Argmax{}, {normal({3, 0})}).throws("argmax: expected (N, d) with d > 0, not (3, 0)"),
        sample("vector", ops::Argmax{}, {normal({3})}).throws("argmax: expected (N, d) with d > 0, not (3)")};
  }
};

template <>
struct Samples<ops::SegmentMean> {
  static std::vector<Sample> list() {
    return {sample("sequences", ops::SegmentMean{indices(ends)}, {normal({6, 5})}),
            sample("no_sequences", ops::SegmentMean{indices({0})}, {normal({0, 5})}),
            sample("empty_sequences", ops::SegmentMean{indices({0, 0, 0})}, {normal({0, 5})}),
            sample("vector", ops::SegmentMean{indices(ends)}, {normal({6})})
                .throws("segment_mean: expected (rows, d), not (6)"),
            sample("too_few_rows", ops::SegmentMean{indices(ends)}, {normal({5, 5})})
                .throws("segment_mean: the offsets must rise from 0 to 5"),
            sample("falling", ops::SegmentMean{indices({0, 4, 2, 6})}, {normal({6, 5})})
                .throws("segment_mean: the offsets must rise from 0 to 6")};
  }
};

template <>
struct Samples<ops::SegmentMeanAdjoint> {
  static std::vector<Sample> list() {
    return {sample("sequences", ops::SegmentMeanAdjoint{indices(ends), 6}, {normal({4, 5})}),
            sample("no_sequences", ops::SegmentMeanAdjoint{indices({0}), 0}, {normal({0, 5})}),
            sample("other_count", ops::SegmentMeanAdjoint{indices(ends), 6}, {normal({3, 5})})
                .throws("segment_mean_adjoint: gy (3, 5) for 4 sequences"),
            sample("other_rows", ops::SegmentMeanAdjoint{indices(ends), 7}, {normal({4, 5})})
                .throws("segment_mean_adjoint: the offsets must rise from 0 to 7")};
  }
};

template <>
std::vector<OpSamples> samples_of<ReduceOps>() {
  return list_samples(ReduceOps{});
}

}  // namespace mora::test
