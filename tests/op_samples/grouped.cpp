#include "op_samples/sample.h"

namespace mora::test {
namespace {

// Groups of two rows, none, three, with a row of x that two of them read and one that none does.
RowGroups three() { return {ints({2, 0, 3, 2, 0}), {0, 2, 2, 5}}; }
RowGroups none() { return {ints({}), {0, 0, 0}}; }
RowGroups falling() { return {ints({2, 0, 3, 2, 0}), {0, 3, 2, 5}}; }
RowGroups beyond() { return {ints({4}), {0, 1}}; }
// A tile's rows and more, in one group of distinct rows.
RowGroups many() { return {ints({9, 3, 0, 1, 8, 2, 7, 5, 4, 6, 10}), {0, 11}}; }

}  // namespace

template <>
struct Samples<ops::GatherProducts> {
  static std::vector<Sample> list() {
    using Op = ops::GatherProducts;
    return {sample("plain", Op{three()}, {normal({4, 5}), normal({3, 2, 5})}),
            sample("tiles", Op{many()}, {normal({11, 70}), normal({1, 9, 70})}),
            sample("no_rows", Op{none()}, {normal({0, 5}), normal({2, 3, 5})}),
            sample("inner", Op{three()}, {normal({4, 5}), normal({3, 2, 6})})
                .throws("gather_products: x (4, 5) against W (3, 2, 6) in 3 groups"),
            sample("groups", Op{three()}, {normal({4, 5}), normal({2, 2, 5})})
                .throws("gather_products: x (4, 5) against W (2, 2, 5) in 3 groups"),
            sample("falling", Op{falling()}, {normal({4, 5}), normal({3, 2, 5})})
                .throws("gather_products: the offsets must rise from 0 to 5"),
            sample("beyond", Op{beyond()}, {normal({4, 5}), normal({1, 2, 5})}).throws("gather_products: row 4 of 4"),
            sample("two_dtypes", Op{beyond()}, {normal({5, 2}).as(DType::f32), normal({1, 2, 2}).as(DType::f64)})
                .throws("gather_products: f32 against f64")};
  }
};

template <>
struct Samples<ops::ScatterProducts> {
  static std::vector<Sample> list() {
    using Op = ops::ScatterProducts;
    return {
        sample("plain", Op{three(), 4}, {normal({5, 2}), normal({3, 2, 5})}),
        sample("tiles", Op{many(), 11}, {normal({11, 9}), normal({1, 9, 70})}),
        sample("no_rows", Op{none(), 2}, {normal({0, 3}), normal({2, 3, 4})}),
        sample("rows", Op{three(), 4}, {normal({4, 2}), normal({3, 2, 5})})
            .throws("scatter_products: h (4, 2) against W (3, 2, 5) in 3 groups"),
        sample("beyond", Op{three(), 3}, {normal({5, 2}), normal({3, 2, 5})}).throws("scatter_products: row 3 of 3")};
  }
};

template <>
struct Samples<ops::OuterProducts> {
  static std::vector<Sample> list() {
    using Op = ops::OuterProducts;
    return {sample("plain", Op{three()}, {normal({5, 2}), normal({4, 5})}),
            sample("tiles", Op{many()}, {normal({11, 9}), normal({11, 70})}),
            sample("no_rows", Op{none()}, {normal({0, 3}), normal({2, 4})}),
            sample("rows", Op{three()}, {normal({4, 2}), normal({4, 5})})
                .throws("outer_products: h (4, 2) against x (4, 5) in 5 rows")};
  }
};

template <>
std::vector<OpSamples> samples_of<GroupedOps>() {
  return list_samples(GroupedOps{});
}

}  // namespace mora::test
