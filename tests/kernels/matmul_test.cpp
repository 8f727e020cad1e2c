// Matrix products against naive f64 sums of the same rounded inputs, through every path: Eigen, oneDNN, our own narrow
// ones; and the frozen weight.
#include "kernels/matmul.h"

#include <gtest/gtest.h>

#include "engine/parallel.h"
#include "kernels/bf16_products.h"
#include "kernels/values.h"

namespace mora::kernels {
namespace {

using test::normal_values;
using test::tensor_of;
using test::values_of;

struct Sizes {
  int64_t m, n, k;
};

// Narrow in each place, odd, plain, deeper than one block of tokens, and larger than one block of rows.
const Sizes sizes[] = {{1, 1, 1},    {3, 5, 7},     {64, 8, 96},  {45, 7, 39},   {8, 40, 300},   {7, 45, 391},
                       {130, 33, 4}, {78, 78, 96},  {96, 2, 64},  {2, 64, 96},   {40, 160, 36},  {150, 140, 70},
                       {33, 12, 1},  {12, 300, 33}, {530, 20, 9}, {535, 150, 5}, {140, 150, 530}};

test::Values product(const test::Values& a, const test::Values& b, const test::Values& start, Sizes s, bool ta,
                     bool tb) {
  test::Values y = start;
  for (int64_t i = 0; i < s.m; ++i)
    for (int64_t j = 0; j < s.n; ++j)
      for (int64_t k = 0; k < s.k; ++k)
        y[size_t(i * s.n + j)] += a[size_t(ta ? k * s.m + i : i * s.k + k)] * b[size_t(tb ? j * s.k + k : k * s.n + j)];
  return y;
}

void check(Sizes s, bool ta, bool tb, bool accumulate, DType in, DType out) {
  const Tensor a = tensor_of(normal_values(s.m * s.k, 1, 0.3), ta ? Shape{s.k, s.m} : Shape{s.m, s.k}, in);
  const Tensor b = tensor_of(normal_values(s.k * s.n, 2, 0.3), tb ? Shape{s.n, s.k} : Shape{s.k, s.n}, in);
  Tensor y = tensor_of(normal_values(s.m * s.n, 3), {s.m, s.n}, out);
  const test::Values start = accumulate ? values_of(y) : test::Values(size_t(s.m * s.n));
  matmul(a, b, y, {.transpose_a = ta, .transpose_b = tb, .accumulate = accumulate});
  const double error = test::difference(values_of(y), product(values_of(a), values_of(b), start, s, ta, tb));
  EXPECT_LE(error, test::tolerance(out)) << s.m << "×" << s.n << "×" << s.k << " transposed " << ta << tb
                                         << " accumulate " << accumulate << " " << name_of(in) << " → " << name_of(out);
}

void check_all(DType in, DType out) {
  for (const Sizes& s : sizes)
    for (int flags = 0; flags < 8; ++flags) check(s, flags & 1, flags & 2, flags & 4, in, out);
}

TEST(Matmul, F64) { check_all(DType::f64, DType::f64); }
TEST(Matmul, F32) { check_all(DType::f32, DType::f32); }
TEST(Matmul, F16) { check_all(DType::f16, DType::f16); }

TEST(Matmul, Bf16HoweverItIsComputed) {
  const Bf16Products measured = bf16_products();
  set_bf16_products(Bf16Products::widened);
  check_all(DType::bf16, DType::bf16);
  check_all(DType::bf16, DType::f32);
  set_bf16_products(measured);
  check_all(DType::bf16, DType::bf16);
  check_all(DType::bf16, DType::f32);
}

TEST(Matmul, NothingToSumIsZeroOrWhatWasThere) {
  const Tensor a = Tensor::zeros({2, 0}), b = Tensor::zeros({0, 3});
  Tensor y = tensor_of(test::Values(6, 5), {2, 3}, DType::f32);
  matmul(a, b, y, {.accumulate = true});
  EXPECT_EQ(values_of(y), test::Values(6, 5));
  matmul(a, b, y, {});
  EXPECT_EQ(values_of(y), test::Values(6, 0));
  Tensor none = Tensor::empty({0, 3});
  matmul(Tensor::zeros({0, 4}), Tensor::zeros({4, 3}), none, {});
}

TEST(Matmul, NarrowProductsDoNotDependOnTheThreads) {
  const int before = threads();
  for (bool outer : {false, true}) {
    const Tensor a = tensor_of(normal_values(700 * 12, 1), {700, 12}, DType::f32);
    const Tensor b = tensor_of(normal_values(outer ? 700 * 200 : 12 * 200, 2), {outer ? 700 : 12, 200}, DType::f32);
    std::vector<test::Values> results;
    for (int n : {1, 2, 7}) {
      set_threads(n);
      Tensor y = Tensor::empty({outer ? 12 : 700, 200});
      matmul(a, b, y, {.transpose_a = outer});
      results.push_back(values_of(y));
    }
    EXPECT_EQ(results[0], results[1]);
    EXPECT_EQ(results[0], results[2]);
  }
  set_threads(before);
}

TEST(Matmul, RefusesWhatDoesNotFit) {
  const Tensor a = Tensor::zeros({2, 3}), b = Tensor::zeros({3, 4});
  Tensor y = Tensor::zeros({2, 4}), narrow = Tensor::zeros({2, 4}, DType::bf16), short_y = Tensor::zeros({2, 3});
  EXPECT_THROW(matmul(a, b, y, {.transpose_b = true}), ShapeError);
  EXPECT_THROW(matmul(a, b, short_y, {}), ShapeError);
  EXPECT_THROW(matmul(a, b, narrow, {}), DTypeError);
  EXPECT_THROW(matmul(a, b.alias({3, 4}, {1, 3}, 0), y, {}), ShapeError);
}

// Row counts that are one primitive, a multiple of a unit, several blocks with a remainder.
TEST(FrozenWeight, ForwardAndBackward) {
  const int64_t in = 48, out = 80;
  for (DType weight_dtype : {DType::f64, DType::f32, DType::bf16, DType::f16})
    for (DType dtype : {DType::f64, DType::f32, DType::bf16, DType::f16})
      for (bool biased : {false, true}) {
        const Tensor w = tensor_of(normal_values(out * in, 1, 0.2), {out, in}, weight_dtype);
        const Tensor b = biased ? tensor_of(normal_values(out, 2), {out}, weight_dtype) : Tensor();
        const FrozenWeight frozen(w, b);
        // W is rounded to the dtype it multiplies in: f16 and f64 weights may lose bits against x of bf16.
        const double allowed = test::tolerance(dtype) * (dtype == DType::bf16 ? 2 : 1);
        for (int64_t n : {0, 1, 3, 5, 16, 33, 100, 512, 1100}) {
          const Tensor x = tensor_of(normal_values(n * in, 3, 0.3), {n, in}, dtype);
          Tensor y = Tensor::empty({n, out}, dtype);
          linear(x, frozen, y);
          test::Values start;
          for (int64_t i = 0; i < n * out; ++i) start.push_back(biased ? values_of(b)[size_t(i % out)] : 0);
          EXPECT_LE(
              test::difference(values_of(y), product(values_of(x), values_of(w), start, {n, out, in}, false, true)),
              allowed)
              << name_of(weight_dtype) << " " << name_of(dtype) << " " << n << (biased ? " biased" : "");
          if (n == 1100) continue;
          const Tensor gy = tensor_of(normal_values(n * out, 4, 0.3), {n, out}, dtype);
          Tensor gx = Tensor::empty({n, in}, dtype);
          linear_backward(gy, frozen, gx);
          EXPECT_LE(test::difference(values_of(gx), product(values_of(gy), values_of(w), test::Values(size_t(n * in)),
                                                            {n, in, out}, false, false)),
                    allowed)
              << "backward " << name_of(weight_dtype) << " " << name_of(dtype) << " " << n;
        }
      }
}

TEST(FrozenWeight, EachDirectionIsPackedWhenFirstUsed) {
  const FrozenWeight frozen(Tensor::zeros({64, 128}), {});
  EXPECT_EQ(frozen.packed_bytes(), 0);
  Tensor x1 = Tensor::zeros({1, 128}), y1 = Tensor::zeros({1, 64});
  linear(x1, frozen, y1);
  EXPECT_EQ(frozen.packed_bytes(), 0) << "a few rows are multiplied by W as it lies";
  Tensor x = Tensor::zeros({16, 128}), y = Tensor::zeros({16, 64});
  linear(x, frozen, y);
  const int64_t once = frozen.packed_bytes();
  EXPECT_GE(once, 64 * 128 * 4);
  linear(x, frozen, y);
  EXPECT_EQ(frozen.packed_bytes(), once);
  linear_backward(y, frozen, x);
  EXPECT_GE(frozen.packed_bytes(), once + 64 * 128 * 4);
}

TEST(FrozenWeight, AMappedOneIsCopiedForAFewRows) {
  const auto file = std::make_shared<std::vector<float>>(9 * 33, 2.0f);
  const FrozenWeight frozen(Tensor::foreign(file->data() + 1, {8, 33}, DType::f32, file), {});
  const Tensor x = tensor_of(test::Values(33, 1.0), {1, 33}, DType::f32);
  Tensor y = Tensor::empty({1, 8});
  linear(x, frozen, y);
  EXPECT_EQ(frozen.packed_bytes(), 8 * 33 * 4);
  EXPECT_EQ(values_of(y), test::Values(8, 66.0));
  frozen.drop_rows();
  EXPECT_EQ(frozen.packed_bytes(), 0);
  frozen.pack(DType::f32);
  const int64_t for_training = frozen.packed_bytes();
  linear(x, frozen, y);
  EXPECT_EQ(frozen.packed_bytes(), for_training) << "a sample while training runs reads the file";
  EXPECT_EQ(values_of(y), test::Values(8, 66.0));
}

// One row of 650 pairs of bf16 keeps its beginning in registers, several do not.
TEST(FrozenWeight, AFewRowsAreWhatEachIsAloneOnAnyNumberOfThreads) {
  const int64_t out = 1030;
  const int before = threads();
  for (DType dtype : {DType::f32, DType::bf16})
    for (int64_t in : {330, 650}) {
      const FrozenWeight frozen(tensor_of(normal_values(out * in, 1, 0.2), {out, in}, dtype), {});
      const Tensor x = tensor_of(normal_values(3 * in, 2), {3, in}, dtype);
      Tensor together = Tensor::empty({3, out}, dtype), alone = Tensor::empty({1, out}, dtype);
      for (int n : {1, 2, 7}) {
        set_threads(n);
        linear(x, frozen, together);
        for (int64_t i = 0; i < 3; ++i) {
          linear(x.alias({1, in}, {in, 1}, i * in), frozen, alone);
          EXPECT_EQ(values_of(alone), values_of(together.alias({1, out}, {out, 1}, i * out)));
        }
      }
    }
  set_threads(before);
}

// They wait for memory, and so go by pairs wherever the processor has them, also where products are faster in f32.
TEST(FrozenWeight, AFewRowsDoNotDependOnHowProductsOfBf16AreComputed) {
  const int64_t in = 650, out = 1030;
  const FrozenWeight frozen(tensor_of(normal_values(out * in, 1, 0.2), {out, in}, DType::bf16), {});
  const Tensor x = tensor_of(normal_values(3 * in, 2), {3, in}, DType::bf16);
  std::vector<test::Values> ys;
  test::for_both_bf16_products([&](Bf16Products) {
    Tensor y = Tensor::empty({3, out}, DType::bf16);
    linear(x, frozen, y);
    ys.push_back(values_of(y));
  });
  EXPECT_EQ(ys[0], ys[1]);
}

TEST(FrozenWeight, SeveralOfOneXGiveWhatEachGivesAlone) {
  const int64_t in = 330, outs[] = {700, 40, 33};
  const int before = threads();
  for (DType dtype : {DType::f32, DType::bf16, DType::f64})
    for (int64_t rows : {1, 3, 20})
      for (int n : {1, 2, 7}) {
        set_threads(n);
        const Tensor x = tensor_of(normal_values(rows * in, 2), {rows, in}, dtype);
        std::vector<std::unique_ptr<FrozenWeight>> owned;
        std::vector<const FrozenWeight*> weights;
        Tensors ys, alone;
        for (int64_t out : outs) {
          // The second of f32, which x of bf16 reads converted, and with a bias.
          const bool second = out == outs[1];
          owned.push_back(std::make_unique<FrozenWeight>(
              tensor_of(normal_values(out * in, 3, 0.2), {out, in}, second ? DType::f32 : dtype),
              second ? tensor_of(normal_values(out, 4), {out}, DType::f32) : Tensor()));
          weights.push_back(owned.back().get());
          ys.push_back(Tensor::empty({rows, out}, dtype));
          alone.push_back(Tensor::empty({rows, out}, dtype));
          linear(x, *weights.back(), alone.back());
        }
        linears(x, weights, ys);
        for (size_t i = 0; i < ys.size(); ++i) EXPECT_EQ(values_of(ys[i]), values_of(alone[i])) << rows << " " << n;
      }
  set_threads(before);
}

TEST(FrozenWeight, RefusesWhatDoesNotFit) {
  EXPECT_THROW(FrozenWeight(Tensor::zeros({4}), {}), ShapeError);
  EXPECT_THROW(FrozenWeight(Tensor::zeros({4, 3}), Tensor::zeros({3})), ShapeError);
  const FrozenWeight frozen(Tensor::zeros({4, 3}), {});
  Tensor y = Tensor::zeros({2, 4});
  EXPECT_THROW(linear(Tensor::zeros({2, 4}), frozen, y), ShapeError);
  EXPECT_THROW(linear(Tensor::zeros({2, 3}, DType::f64), frozen, y), DTypeError);
}

}  // namespace
}  // namespace mora::kernels
