// A linear with a low-rank adapter, by chunks of tokens, against plain products in f64.
#include "kernels/lora.h"

#include <gtest/gtest.h>

#include <array>

#include "engine/parallel.h"
#include "kernels/bf16_products.h"
#include "kernels/values.h"

namespace mora::kernels {
namespace {

using test::normal_values;
using test::tensor_of;
using test::Values;
using test::values_of;

struct Sizes {
  int64_t tokens, k, d, rank;
};
// Blocks, parts and tiles that are full and not; one column; ranks of either tile; what goes by plain products.
constexpr Sizes sizes[] = {{32, 16, 16, 8},   {49, 20, 37, 4}, {131, 100, 60, 3}, {200, 33, 64, 16}, {400, 64, 96, 8},
                           {839, 48, 31, 12}, {100, 1, 7, 1},  {33, 70, 1, 32},   {31, 16, 16, 8},   {4, 16, 16, 8},
                           {7, 32, 48, 8},    {0, 16, 16, 8},  {40, 20, 30, 33},  {64, 3000, 40, 24}};

struct Results {
  Tensor y, h, gx, ga, gb;
  std::array<Tensor, 5> all() const { return {y, h, gx, ga, gb}; }
};

Results results(const Sizes& s, DType dtype) {
  const auto random = [&](const Shape& shape, uint64_t seed) { return test::short_normal(shape, seed, dtype); };
  const auto [n, k, d, r] = s;
  const Tensor x = random({n, k}, 1), a = random({r, k}, 2), b = random({d, r}, 3), gy = random({n, d}, 4);
  const FrozenWeight w(random({d, k}, 5), random({d}, 6));
  const auto empty = [&](const Shape& shape) { return Tensor::empty(shape, dtype); };
  Results out{empty({n, d}), empty({n, r}), empty({n, k}), empty({r, k}), empty({d, r})};
  lora_linear(x, w, a, b, out.y, out.h, 0.5);
  lora_linear_backward(x, w, a, b, out.h, gy, out.gx, out.ga, out.gb, 0.5);
  return out;
}

TEST(Lora, ResultsArePlainProductsInF64) {
  for (const Sizes& s : sizes) {
    const auto expected = results(s, DType::f64).all();
    for (DType dtype : {DType::f32, DType::bf16, DType::f16}) {
      const auto got = results(s, dtype).all();
      for (size_t i = 0; i < expected.size(); ++i) {
        const Values values = values_of(expected[i]);
        EXPECT_LE(test::difference(values_of(got[i]), values), 4 * test::tolerance(dtype) * test::largest(values))
            << s.tokens << " tokens, " << s.k << " " << s.d << " " << s.rank << " " << i << " " << name_of(dtype);
      }
    }
  }
}

// Products of bf16 as the processor has them, and in f32 after widening.
TEST(Lora, Bf16BothWays) {
  test::for_both_bf16_products([](Bf16Products products) {
    for (int64_t rank : {1, 8, 16, 17, 32})
      for (const Sizes& s : {Sizes{33, 64, 96, rank}, Sizes{47, 33, 50, rank}, Sizes{96, 100, 31, rank},
                             Sizes{250, 160, 64, rank}, Sizes{700, 40, 70, rank}}) {
        const auto expected = results(s, DType::f64).all(), got = results(s, DType::bf16).all();
        for (size_t i = 0; i < expected.size(); ++i) {
          const Values values = values_of(expected[i]);
          EXPECT_LE(test::difference(values_of(got[i]), values),
                    4 * test::tolerance(DType::bf16) * test::largest(values))
              << s.tokens << " tokens, " << s.k << " " << s.d << " " << s.rank << " " << i << " " << int(products);
        }
      }
  });
}

// y is made of h as it is saved for the backward, rounded once: pairs of ranks, some hundreds each, differ by about
// one, and their difference is what comes out.
TEST(Lora, TheOutputIsOfTheNarrowSideAsItIsSaved) {
  constexpr int64_t n = 150, k = 70, d = 100;
  for (DType dtype : {DType::bf16, DType::f16})
    for (int64_t r : {2, 3, 8, 16, 18, 32}) {
      const Values normal = values_of(test::short_normal({r, k}, 3, DType::f64));
      Values a(normal.size()), signs(size_t(d * r));
      for (size_t i = 0; i < a.size(); ++i) {
        const size_t rank = i / k, column = i % k;
        a[i] = column == 0 ? double(rank % 2) : 32 * normal[rank / 2 * k + column];
      }
      for (size_t i = 0; i < signs.size(); ++i) signs[i] = i % size_t(r) % 2 ? 1 : -1;
      const FrozenWeight w(Tensor::zeros({d, k}, dtype), Tensor::zeros({d}, dtype));
      Tensor y = Tensor::zeros({n, d}, dtype), h = Tensor::zeros({n, r}, dtype);
      lora_linear(test::short_normal({n, k}, 1, dtype), w, tensor_of(a, {r, k}, dtype), tensor_of(signs, {d, r}, dtype),
                  y, h, 1);
      const Values saved = values_of(h);
      Values expected(size_t(n * d));
      for (size_t i = 0; i < expected.size(); ++i)
        for (size_t rank = 0; rank < size_t(r); ++rank)
          expected[i] += saved[i / d * size_t(r) + rank] * (rank % 2 ? 1 : -1);
      EXPECT_LE(test::difference(values_of(y), expected), 4 * test::tolerance(dtype))
          << name_of(dtype) << " rank " << r;
    }
}

TEST(Lora, ResultsDoNotDependOnTheThreads) {
  const int before = threads();
  for (DType dtype : {DType::f32, DType::bf16}) {
    set_threads(1);
    const auto alone = results({700, 100, 60, 8}, dtype).all();
    for (int n : {2, 3}) {
      set_threads(n);
      const auto together = results({700, 100, 60, 8}, dtype).all();
      for (size_t i = 0; i < alone.size(); ++i) EXPECT_EQ(values_of(alone[i]), values_of(together[i])) << i;
    }
  }
  set_threads(before);
}

TEST(Lora, BackwardComputesWhatIsAskedAlone) {
  const auto random = [&](const Shape& shape, uint64_t seed) {
    return tensor_of(normal_values(shape.numel(), seed), shape, DType::f32);
  };
  const Tensor x = random({50, 20}, 1), a = random({4, 20}, 2), b = random({30, 4}, 3), h = random({50, 4}, 4),
               gy = random({50, 30}, 5);
  const FrozenWeight w(random({30, 20}, 6), {});
  Tensor gx = Tensor::zeros({50, 20}), ga = Tensor::empty({4, 20}), gb = Tensor::empty({30, 4}), none;
  lora_linear_backward(x, w, a, b, h, gy, gx, ga, gb, 2);
  Tensor gx_alone = Tensor::zeros({50, 20}), ga_alone = Tensor::empty({4, 20}), gb_alone = Tensor::empty({30, 4});
  lora_linear_backward(x, w, a, b, h, gy, gx_alone, none, none, 2);
  lora_linear_backward(x, w, a, b, h, gy, none, ga_alone, none, 2);
  lora_linear_backward(x, w, a, b, h, gy, none, none, gb_alone, 2);
  EXPECT_EQ(values_of(gx), values_of(gx_alone));
  EXPECT_EQ(values_of(ga), values_of(ga_alone));
  EXPECT_EQ(values_of(gb), values_of(gb_alone));
}

TEST(Lora, RefusesWhatDoesNotFit) {
  const Tensor x = Tensor::zeros({40, 4}), a = Tensor::zeros({2, 4}), b = Tensor::zeros({6, 2});
  Tensor y = Tensor::zeros({40, 6}), h = Tensor::zeros({40, 2}), wide = Tensor::zeros({40, 3});
  const FrozenWeight w(Tensor::zeros({6, 4}), {}), other(Tensor::zeros({6, 5}), {});
  EXPECT_THROW(lora_linear(x, w, a, b, y, wide, 1), ShapeError);
  EXPECT_THROW(lora_linear(x, w, b, a, y, h, 1), ShapeError);
  EXPECT_THROW(lora_linear(x, other, a, b, y, h, 1), ShapeError);
  EXPECT_THROW(lora_linear(x, w, Tensor::zeros({2, 4}, DType::bf16), b, y, h, 1), DTypeError);
}

}  // namespace
}  // namespace mora::kernels
