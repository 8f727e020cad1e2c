#include "op_samples/sample.h"

namespace mora::test {
namespace {

const GroupOffsets ends{0, 2, 2, 5};  // groups of two rows, none, three

}  // namespace

template <>
struct Samples<ops::GroupedMatmul> {
  static std::vector<Sample> list() {
    using Op = ops::GroupedMatmul;
    return {sample("plain", Op{ends}, {normal({5, 4}), normal({3, 4, 2})}),
            sample("transposed", Op{ends, true}, {normal({5, 4}), normal({3, 2, 4})}),
            sample("no_rows", Op{{0, 0, 0}}, {normal({0, 4}), normal({2, 4, 3})}),
            sample("inner", Op{ends}, {normal({5, 4}), normal({3, 2, 4})})
                .throws("grouped_matmul: x (5, 4) against W (3, 2, 4) in 3 groups"),
            sample("groups", Op{ends}, {normal({5, 4}), normal({2, 4, 2})})
                .throws("grouped_matmul: x (5, 4) against W (2, 4, 2) in 3 groups"),
            sample("rows", Op{ends}, {normal({6, 4}), normal({3, 4, 2})})
                .throws("grouped_matmul: the offsets must rise from 0 to 6"),
            sample("two_dtypes", Op{{0, 1}}, {normal({1, 2}).as(DType::f32), normal({1, 2, 2}).as(DType::f64)})
                .throws("grouped_matmul: f32 against f64")};
  }
};

template <>
struct Samples<ops::GroupedOuter> {
  static std::vector<Sample> list() {
    using Op = ops::GroupedOuter;
    return {sample("rows", Op{ends}, {normal({5, 4}), normal({5, 2})}),
            sample("no_rows", Op{{0, 0, 0}}, {normal({0, 4}), normal({0, 2})}),
            sample("other_rows", Op{ends}, {normal({5, 4}), normal({4, 2})})
                .throws("grouped_outer: a (5, 4) against b (4, 2)"),
            sample("falling", Op{{0, 3, 2, 5}}, {normal({5, 4}), normal({5, 2})})
                .throws("grouped_outer: the offsets must rise from 0 to 5"),
            sample("two_dtypes", Op{{0, 1}}, {normal({1, 2}).as(DType::f32), normal({1, 2}).as(DType::f64)})
                .throws("grouped_outer: f32 against f64")};
  }
};

template <>
std::vector<OpSamples> samples_of<GroupedMatmulOps>() {
  return list_samples(GroupedMatmulOps{});
}

}  // namespace mora::test
