#include "kernels/grouped.h"

#include "cuda/twin.h"

namespace mora::test {
namespace {

using kernels::RowGroups;

// The three products, of `rows` of n in groups of the given lengths.
void expect_products(int64_t n, int64_t r, int64_t d, const std::vector<int32_t>& rows,
                     const std::vector<int64_t>& lengths, DType dtype) {
  SCOPED_TRACE(fmt::format("{} n {} r {} d {}", name_of(dtype), n, r, d));
  const int64_t s = std::ssize(rows), groups = std::ssize(lengths);
  std::vector<int64_t> offsets{0};
  for (const int64_t length : lengths) offsets.push_back(offsets.back() + length);
  const auto random = [&](const Shape& shape, uint64_t seed) {
    return tensor_of(normal_values(shape.numel(), seed), shape, dtype);
  };
  const Tensors tensors = {random({n, d}, 1),
                           random({groups, r, d}, 2),
                           random({s, r}, 3),
                           Tensor::from(rows, {s}),
                           unwritten({s, r}, dtype),
                           unwritten({n, d}, dtype),
                           unwritten({groups, r, d}, dtype)};
  expect_twins(tensors, 20 * tolerance(dtype), [&](Tensors& t) {
    const RowGroups sorted{t[3], offsets};
    kernels::gather_products(t[0], t[1], t[4], sorted);
    kernels::scatter_products(t[2], t[1], t[5], sorted);
    kernels::outer_products(t[2], t[0], t[6], sorted);
  });
}

// Two thirds of the rows in the first group, backwards; none in the second; all in the third.
void expect_products(int64_t n, int64_t r, int64_t d, DType dtype) {
  std::vector<int32_t> rows;
  for (int64_t i = n; i-- > n / 3;) rows.push_back(int32_t(i));
  const int64_t first = std::ssize(rows);
  for (int64_t i = 0; i < n; ++i) rows.push_back(int32_t(i));
  expect_products(n, r, d, rows, {first, 0, n}, dtype);
}

TEST(SimtGrouped, EveryDType) {
  for (const DType dtype : floating_dtypes) {
    expect_products(1, 1, 1, dtype);
    expect_products(37, 9, 67, dtype);
    expect_products(33, 20, 68, dtype);
  }
}

TEST(SimtGrouped, MoreThanATile) {
  expect_products(150, 70, 132, DType::f32);
  expect_products(300, 8, 64, DType::bf16);
}

TEST(SimtGrouped, ARowSeveralTimesInAGroup) { expect_products(3, 5, 7, {2, 0, 2, 2, 0, 0, 2}, {4, 3}, DType::f32); }

TEST(SimtGrouped, NoRows) { expect_products(5, 3, 9, {}, {0, 0}, DType::f32); }

}  // namespace
}  // namespace mora::test
