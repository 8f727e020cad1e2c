#include "cuda/twin.h"
#include "engine/cuda.h"
#include "kernels/copy.h"
#include "kernels/grouped.h"

namespace mora::test {
namespace {

Tensor numbers(const Shape& shape, DType dtype, uint64_t seed) {
  return tensor_of(normal_values(shape.numel(), seed), shape, dtype);
}

// n ids of a table of `rows`, some of them several times.
Tensor ids_of(int64_t n, int64_t rows) {
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < n; ++i) ids.push_back(int32_t(i * i % 31 % rows));
  return Tensor::from(ids, {n});
}

void expect_gathered_and_scattered(int64_t n, int64_t rows, int64_t columns, DType table, DType row) {
  SCOPED_TRACE(fmt::format("{} rows of {} in {}, {} ids, {}", rows, columns, name_of(table), n, name_of(row)));
  const Tensor ids = ids_of(n, rows);
  expect_twins({numbers({rows, columns}, table, 1), ids, unwritten({n, columns}, row)}, tolerance(row),
               [](Tensors& t) { kernels::gather_rows(t[0], t[1], t[2]); });
  expect_twins({numbers({n, columns}, row, 2), ids, numbers({rows, columns}, table, 3)}, 4 * tolerance(table),
               [](Tensors& t) { kernels::scatter_add_rows(t[0], t[1], t[2]); });
}

TEST(SimtGather, BetweenAllDTypes) {
  for (const DType table : floating_dtypes)
    for (const DType row : floating_dtypes) {
      expect_gathered_and_scattered(7, 5, 24, table, row);
      expect_gathered_and_scattered(3, 40, 9, table, row);  // not in packs
    }
}

TEST(SimtGather, Sizes) {
  for (const auto& [n, rows, columns] :
       {std::tuple<int64_t, int64_t, int64_t>{0, 4, 8}, {1, 1, 1}, {600, 3, 5}, {4, 50, 1000}, {300, 200, 1}})
    expect_gathered_and_scattered(n, rows, columns, DType::f32, DType::f32);
}

TEST(SimtGather, UnalignedRows) {
  expect_twins({numbers({6, 40}, DType::bf16, 1), ids_of(5, 4), unwritten({6, 40}, DType::f32)}, 0, [](Tensors& t) {
    Tensor y = t[2].alias({5, 40}, {40, 1}, 3);
    kernels::gather_rows(t[0].alias({5, 40}, {40, 1}, 1), t[1], y);
  });
}

// What the kernel says of an index out of range, when the device is waited for; what it left.
template <class F>
void expect_rejected(int32_t index, int64_t limit, F&& launch) {
  const Tensor ids = Tensor::from(std::vector<int32_t>{0, index}, {2}).to(device);
  Tensor y = launch(ids);
  try {
    cuda::check_indices(0);
    ADD_FAILURE() << "row " << index << " of " << limit;
  } catch (const ShapeError& error) {
    EXPECT_EQ(error.what(), fmt::format("row {} of {}: an index is out of range", index, limit));
  }
  for (const float value : y.to(cpu).values<float>()) EXPECT_EQ(value, 0);
}

TEST(SimtGather, IndicesOutOfRangeAreRejectedWhenTheDeviceIsWaitedFor) {
  for (const int32_t index : {-1, 4, INT32_MAX, INT32_MIN}) {
    const Tensor zeros = Tensor::zeros({4, 3}, DType::f32, device), two = Tensor::zeros({2, 3}, DType::f32, device);
    expect_rejected(index, 4, [&](const Tensor& ids) {
      Tensor y = unwritten({2, 3}, DType::f32).to(device);
      kernels::gather_rows(zeros, ids, y);
      return y;
    });
    expect_rejected(index, 4, [&](const Tensor& ids) {
      Tensor y = Tensor::zeros({4, 3}, DType::f32, device);
      kernels::scatter_add_rows(two, ids, y);
      return y;
    });
    const Tensor w = Tensor::zeros({1, 2, 3}, DType::f32, device), h = Tensor::zeros({2, 2}, DType::f32, device);
    expect_rejected(index, 4, [&](const Tensor& ids) {
      Tensor y = unwritten({2, 2}, DType::f32).to(device);
      kernels::gather_products(zeros, w, y, {ids, {0, 2}});
      return y;
    });
    expect_rejected(index, 4, [&](const Tensor& ids) {
      Tensor y = unwritten({4, 3}, DType::f32).to(device);
      kernels::scatter_products(h, w, y, {ids, {0, 2}});
      return y;
    });
    expect_rejected(index, 4, [&](const Tensor& ids) {
      Tensor y = unwritten({1, 2, 3}, DType::f32).to(device);
      kernels::outer_products(h, zeros, y, {ids, {0, 2}});
      return y;
    });
  }
}

}  // namespace
}  // namespace mora::test
