#include "kernels/mora_operator.h"

#include "cuda/twin.h"

namespace mora::test {
namespace {

using kernels::MoraOperator;
using kernels::OperatorKind;

// C, Cᵀ, D, Dᵀ, and D added to what is there.
void expect_operator(const MoraOperator& op, int64_t tokens, DType dtype) {
  SCOPED_TRACE(fmt::format("kind {} k {} d {} r̂ {} {}", int(op.kind), op.in, op.out, op.rank, name_of(dtype)));
  const Shape in{tokens, op.in}, out{tokens, op.out}, narrow{tokens, op.chunks(), op.rank};
  const auto random = [&](const Shape& shape, uint64_t seed) {
    return tensor_of(normal_values(shape.numel(), seed), shape, dtype);
  };
  const Tensors tensors = {
      random(in, 1),        random(narrow, 2),     random(out, 3),           unwritten(narrow, dtype),
      unwritten(in, dtype), unwritten(out, dtype), unwritten(narrow, dtype), random(out, 4)};
  expect_twins(tensors, 2 * tolerance(dtype), [&](Tensors& t) {
    kernels::mora_compress(t[0], t[3], op);
    kernels::mora_compress_adjoint(t[1], t[4], op, false);
    kernels::mora_decompress(t[1], t[5], op, false);
    kernels::mora_decompress_adjoint(t[2], t[6], op);
    kernels::mora_decompress(t[1], t[7], op, true);
  });
}

void expect_linear(const MoraOperator& op, int64_t tokens, DType dtype) {
  SCOPED_TRACE(fmt::format("kind {} k {} d {} r̂ {} {}", int(op.kind), op.in, op.out, op.rank, name_of(dtype)));
  const Shape in{tokens, op.in}, out{tokens, op.out}, square{op.rank, op.rank};
  const auto random = [&](const Shape& shape, uint64_t seed) {
    return tensor_of(normal_values(shape.numel(), seed), shape, dtype);
  };
  const kernels::FrozenWeight w(random({op.out, op.in}, 4), random({op.out}, 5));
  const Tensors tensors = {random(in, 1),         random(square, 2),    random(out, 3),
                           unwritten(out, dtype), unwritten(in, dtype), unwritten(square, dtype)};
  expect_twins(tensors, 40 * tolerance(dtype), [&](Tensors& t) {  // sums over the tokens, and s and z rounded to dtype
    kernels::mora_linear(t[0], w, t[1], t[3], op);
    kernels::mora_linear_backward(t[0], w, t[1], t[2], t[4], t[5], op);
  });
}

constexpr int kinds = 1 + int(OperatorKind::rotation_full);

// As tests/kernels/mora_operator_test.cpp: divisible and not, k > d, k < d, r̂ = k, r̂ > k, r̂ > 2k, r̂ > d.
TEST(SimtMoraOperator, EveryKindAndSize) {
  constexpr int64_t sizes[][3] = {{24, 24, 6}, {24, 36, 8},  {25, 31, 6},  {40, 12, 6}, {41, 13, 8}, {9, 40, 4},
                                  {10, 30, 4}, {12, 12, 12}, {10, 17, 14}, {5, 23, 12}, {30, 4, 10}, {7, 3, 2}};
  for (int kind = 0; kind < kinds; ++kind)
    for (const auto& [k, d, rank] : sizes) expect_operator({OperatorKind(kind), k, d, rank}, 3, DType::f32);
}

TEST(SimtMoraOperator, EveryDTypeInPacks) {
  for (int kind = 0; kind < kinds; ++kind)
    for (const DType dtype : floating_dtypes) {
      expect_operator({OperatorKind(kind), 64, 48, 16}, 5, dtype);
      expect_operator({OperatorKind(kind), 72, 40, 16}, 2, dtype);
      expect_operator({OperatorKind(kind), 21, 34, 6}, 2, dtype);
    }
}

TEST(SimtMoraOperator, Updates) {
  for (int kind = 0; kind < kinds; ++kind)
    for (const DType dtype : {DType::f32, DType::bf16, DType::f16})
      expect_linear({OperatorKind(kind), 25, 31, 6}, 5, dtype);
}

TEST(SimtMoraOperator, NoTokensAndMany) {
  for (int kind = 0; kind < kinds; ++kind) {
    expect_operator({OperatorKind(kind), 24, 16, 8}, 0, DType::f32);
    expect_operator({OperatorKind(kind), 25, 17, 8}, 97, DType::f32);
  }
}

TEST(SimtMoraOperator, RefusesShapesThatDoNotFit) {
  const Tensor x = Tensor::zeros({2, 8}, DType::f32, device);
  Tensor s = Tensor::zeros({2, 1, 3}, DType::f32, device);
  EXPECT_THROW(kernels::mora_compress(x, s, {OperatorKind::sharing, 8, 8, 4}), ShapeError);
}

}  // namespace
}  // namespace mora::test
