#include "kernels/copy.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "engine/parallel.h"
#include "kernels/values.h"

namespace mora::test {
namespace {

constexpr DType floating[] = {DType::f64, DType::f32, DType::bf16, DType::f16};

TEST(Copy, AnyStridesBothSides) {
  const Shape shape{5, 37, 41};
  const std::vector<Strides> layouts = {{37 * 41, 41, 1}, {1, 5, 5 * 37}, {41, 5 * 41, 1}, {37, 1, 5 * 37}};
  for (DType from : floating) {
    for (DType to : {from, DType::f32, DType::bf16}) {
      for (const Strides& a : layouts) {
        for (const Strides& b : layouts) {
          const Tensor x = tensor_of(normal_values(shape.numel(), 1), {shape.numel()}, from).alias(shape, a, 0);
          Tensor y = Tensor::zeros({shape.numel()}, to).alias(shape, b, 0);
          kernels::copy(x, y);
          ASSERT_EQ(values_of(y), values_of(tensor_of(values_of(x), shape, to)))
              << name_of(from) << name_of(to) << a.to_string() << b.to_string();
        }
      }
    }
  }
}

TEST(Copy, BroadcastsGapsAndSizes) {
  for (int64_t n : {0, 1, 3, 8, 31, 32, 33, 257, 40001}) {
    const Tensor x = tensor_of(normal_values(2 * n + 1, 2), {2 * n + 1}, DType::f32);
    Tensor y = Tensor::zeros({n}, DType::f16);
    const Tensor gaps = x.alias({n}, {2}, 1), same = x.alias({n}, {0}, 0);
    kernels::copy(gaps, y);
    EXPECT_EQ(values_of(y), values_of(tensor_of(values_of(gaps), {n}, DType::f16)));
    kernels::copy(same, y);
    EXPECT_EQ(values_of(y), values_of(tensor_of(values_of(same), {n}, DType::f16)));
    Tensor wide = Tensor::zeros({2 * n + 1}), odd = wide.alias({n}, {2}, 1);
    kernels::copy(gaps, odd);
    EXPECT_EQ(values_of(odd), values_of(gaps));
    for (int64_t i = 0; i <= n; ++i) ASSERT_EQ(wide.values<float>()[size_t(2 * i)], 0);
  }
}

TEST(Copy, RoundsF64To16BitsOnce) {
  // Halfway between two bf16 but for a bit that f32 has no room for.
  const Tensor x =
      tensor_of({1 + 0x1p-8 + 0x1p-40, 1 + 0x1p-8, 1 + 0x1p-8 - 0x1p-40, 1 + 3 * 0x1p-8 - 0x1p-40}, {4}, DType::f64);
  Tensor y = Tensor::empty({4}, DType::bf16);
  kernels::copy(x, y);
  EXPECT_EQ(values_of(y), (Values{1 + 0x1p-7, 1, 1, 1 + 0x1p-7}));
}

TEST(Copy, ConvertsEvery16BitFloatBothWays) {
  std::vector<uint16_t> bits(65536);
  for (size_t i = 0; i < bits.size(); ++i) bits[i] = uint16_t(i);
  const auto owner = std::make_shared<std::vector<uint16_t>>(bits);
  for (DType dtype : {DType::bf16, DType::f16}) {
    const Tensor x = Tensor::foreign(owner->data(), {65536}, dtype, owner);
    Tensor wide = Tensor::empty({65536}, DType::f32), back = Tensor::empty({65536}, dtype);
    kernels::copy(x, wide);
    EXPECT_EQ(difference(values_of(wide), values_of(x)), 0);
    kernels::copy(wide, back);
    const auto* returned = static_cast<const uint16_t*>(back.raw());
    for (size_t i = 0; i < bits.size(); ++i) {
      const float v = wide.values<float>()[i];
      if (std::isnan(v)) continue;
      if (dtype == DType::bf16 && std::fpclassify(v) == FP_SUBNORMAL && (returned[i] & 0x7FFF) == 0) continue;
      ASSERT_EQ(returned[i], bits[i]) << name_of(dtype);
    }
  }
}

TEST(Copy, RoundsF32ToBf16AsOneNumberDoes) {
  std::vector<float> x;
  for (uint32_t high = 0x0080; high < 0x7F80; high += 7)  // normal numbers of both signs, ties among them
    for (uint32_t low : {0u, 1u, 0x7FFFu, 0x8000u, 0x8001u, 0xFFFFu})
      for (uint32_t sign : {0u, 0x80000000u}) x.push_back(std::bit_cast<float>(sign | high << 16 | low));
  for (float special : {INFINITY, -INFINITY, 0.f, -0.f}) x.push_back(special);
  const int64_t n = int64_t(x.size());
  Tensor y = Tensor::empty({n + 1}, DType::bf16);
  x.push_back(std::bit_cast<float>(0x7F800001u));  // a NaN whose upper half is infinity
  kernels::copy(Tensor::from(x, {n + 1}), y);
  for (int64_t i = 0; i < n; ++i) ASSERT_EQ(y.data<bf16_t>()[i].bits, bf16_t(x[size_t(i)]).bits) << x[size_t(i)];
  EXPECT_TRUE(std::isnan(float(y.data<bf16_t>()[n])));
}

TEST(Copy, IntegersAndBooleans) {
  const Tensor x = tensor_of({-2.75, 0, 0.25, 7}, {4}, DType::f32);
  Tensor i = Tensor::empty({4}, DType::i32), l = Tensor::empty({4}, DType::i64), b = Tensor::empty({4}, DType::boolean);
  kernels::copy(x, i);
  kernels::copy(i, l);
  kernels::copy(x, b);
  EXPECT_EQ(std::vector<int64_t>(l.values<int64_t>().begin(), l.values<int64_t>().end()),
            (std::vector<int64_t>{-2, 0, 0, 7}));
  EXPECT_EQ(std::vector<bool>(b.values<bool>().begin(), b.values<bool>().end()),
            (std::vector<bool>{true, false, true, true}));
}

TEST(Fill, AnyDtype) {
  for (DType dtype : floating) {
    Tensor y = Tensor::empty({40000}, dtype);
    kernels::fill(y, 1.5);
    EXPECT_EQ(values_of(y), Values(40000, 1.5));
  }
  Tensor y = Tensor::empty({3}, DType::i32);
  kernels::fill(y, -4);
  EXPECT_EQ(y.values<int32_t>()[2], -4);
}

TEST(Gather, RowsInAnyOrderWithConversion) {
  const std::vector<int32_t> ids = {4, 0, 4, 2};
  const Tensor at = Tensor::from(ids, {4});
  for (DType from : floating) {
    for (DType to : floating) {
      for (int64_t d : {0, 1, 7, 33}) {
        const Tensor table = tensor_of(normal_values(5 * d, 3), {5, d}, from);
        Tensor y = Tensor::empty({4, d}, to);
        kernels::gather_rows(table, at, y);
        const Values v = values_of(table);
        Values expected;
        for (int32_t id : ids) expected.insert(expected.end(), v.begin() + id * d, v.begin() + (id + 1) * d);
        EXPECT_EQ(values_of(y), values_of(tensor_of(expected, {4, d}, to)));
      }
    }
  }
  Tensor y = Tensor::empty({1, 2});
  for (int32_t bad : {-1, 5})
    EXPECT_THROW(kernels::gather_rows(Tensor::zeros({5, 2}), Tensor::from(std::vector{bad}, {1}), y), ShapeError);
}

TEST(ScatterAdd, SumsRepeatedRowsInF32WhateverTheThreads) {
  const int64_t n = 3000, d = 37, rows = 50;
  std::vector<int32_t> ids;
  const RandomStream stream({.seed = 4, .purpose = Purpose::probe});
  for (int64_t i = 0; i < n; ++i) ids.push_back(int32_t(stream.below(uint64_t(i), uint64_t(rows))));
  const Tensor at = Tensor::from(ids, {n});
  for (DType dtype : floating) {
    const Tensor x = tensor_of(normal_values(n * d, 5), {n, d}, dtype);
    const Tensor start = tensor_of(normal_values(rows * d, 6), {rows, d}, dtype);
    Values expected = values_of(start);
    const Values v = values_of(x);
    for (int64_t i = 0; i < n * d; ++i) expected[size_t(ids[size_t(i / d)] * d + i % d)] += v[size_t(i)];
    std::vector<Values> results;
    const int before = threads();
    for (int count : {1, 3}) {
      set_threads(count);
      Tensor y = Tensor::empty(start.meta());
      kernels::copy(start, y);
      kernels::scatter_add_rows(x, at, y);
      results.push_back(values_of(y));
    }
    set_threads(before);
    EXPECT_LE(difference(results[0], expected), tolerance(dtype)) << name_of(dtype);
    EXPECT_EQ(results[0], results[1]);
  }
}

}  // namespace
}  // namespace mora::test
