#include "kernels/binary.h"

#include "cuda/twin.h"
#include "kernels/copy.h"

namespace mora::test {
namespace {

using kernels::Binary;
using kernels::Compare;

constexpr DType all_dtypes[] = {DType::f64, DType::f32, DType::bf16, DType::f16,
                                DType::i64, DType::i32, DType::u8,   DType::boolean};
constexpr Binary functions[] = {Binary::add, Binary::sub, Binary::mul, Binary::div, Binary::maximum, Binary::minimum};
constexpr Compare comparisons[] = {Compare::equal, Compare::less, Compare::less_equal, Compare::greater,
                                   Compare::greater_equal};

// Numbers of which some are equal: every dtype holds the sixteenths, the integers what is left of them.
Tensor numbers(const Shape& shape, DType dtype, uint64_t seed) {
  Values values = normal_values(shape.numel(), seed, 2);
  for (double& v : values) v = std::round(v * 4) / 4 + (v > 0 ? 0.0625 : -0.0625);
  if (!is_floating(dtype) && dtype != DType::i64 && dtype != DType::i32)
    for (double& v : values) v = std::abs(v);
  Tensor result = Tensor::empty(shape, dtype);
  kernels::copy(tensor_of(values, shape, DType::f64), result);
  return result;
}

struct Pair {
  Tensor a, b;
};

// Operands of one shape: dense, of odd sizes, stretched, turned, and cut out of larger ones.
std::vector<Pair> pairs(DType dtype) {
  const auto make = [&](const Shape& shape, uint64_t seed) { return numbers(shape, dtype, seed); };
  const Tensor table = make({6, 64}, 3), row = make({64}, 4), odd = make({5, 33}, 5), column = make({6}, 6);
  return {
      {make({0}, 1), make({0}, 2)},
      {make({1}, 1), make({1}, 2)},
      {make({5003}, 1), make({5003}, 2)},
      {table, row.alias({6, 64}, {0, 1}, 0)},
      {column.alias({6, 64}, {1, 0}, 0), table},
      {row.alias({6, 64}, {0, 1}, 0), column.alias({6, 64}, {1, 0}, 0)},
      {odd, odd.alias({5, 33}, {0, 1}, 0)},
      {odd.alias({33, 5}, {1, 33}, 0), make({33, 5}, 7)},
      {table.alias({6, 32}, {64, 1}, 16), table.alias({6, 32}, {64, 1}, 3)},
      {table.alias({2, 3, 8, 4}, {192, 64, 1, 16}, 0), make({2, 3, 8, 4}, 8)},
  };
}

TEST(SimtBinary, EveryFunctionAlongAnyStrides) {
  for (const DType dtype : {DType::f64, DType::f32, DType::bf16, DType::f16, DType::i64, DType::i32}) {
    for (const Pair& p : pairs(dtype)) {
      for (const Binary f : functions) {
        if (f == Binary::div && !is_floating(dtype)) continue;
        expect_twins({p.a, p.b, unwritten(p.a.shape(), dtype)}, 0.1 * tolerance(dtype),
                     [&](Tensors& t) { kernels::binary(t[0], t[1], t[2], f); });
      }
    }
  }
}

TEST(SimtBinary, IntegersWrapAndNaNsSpread) {
  const Tensor a = Tensor::from(std::vector<int32_t>{INT32_MAX, INT32_MIN, 65536}, {3});
  const Tensor b = Tensor::from(std::vector<int32_t>{1, INT32_MIN, 65536}, {3});
  const Tensor x = tensor_of({NAN, 1, NAN, 0, -0.}, {5}, DType::f32),
               y = tensor_of({1, NAN, NAN, -0., 0}, {5}, DType::f32);
  for (const Binary f : functions) {
    if (f != Binary::div)
      expect_twins({a, b, unwritten({3}, DType::i32)}, 0, [&](Tensors& t) { kernels::binary(t[0], t[1], t[2], f); });
    expect_twins({x, y, unwritten({5}, DType::f32)}, 0, [&](Tensors& t) { kernels::binary(t[0], t[1], t[2], f); });
  }
}

TEST(SimtBinary, RefusesWhatTheProcessorRefuses) {
  for (const DType dtype : {DType::u8, DType::i32}) {
    const Tensor x = Tensor::zeros({3}, dtype, device);
    Tensor y = Tensor::zeros({3}, dtype, device);
    EXPECT_THROW(kernels::binary(x, x, y, Binary::div), DTypeError);
  }
}

TEST(SimtBinary, Comparisons) {
  for (const DType dtype : all_dtypes)
    for (const Pair& p : pairs(dtype))
      for (const Compare f : comparisons)
        expect_twins({p.a, p.b, unwritten(p.a.shape(), DType::boolean)}, 0,
                     [&](Tensors& t) { kernels::compare(t[0], t[1], t[2], f); });
}

TEST(SimtBinary, Where) {
  for (const DType dtype : all_dtypes) {
    for (const Pair& p : pairs(dtype)) {
      Tensor condition = Tensor::empty(p.a.shape(), DType::boolean);
      kernels::compare(numbers(p.a.shape(), DType::f32, 9), numbers(p.a.shape(), DType::f32, 10), condition,
                       Compare::less);
      expect_twins({condition, p.a, p.b, unwritten(p.a.shape(), dtype)}, 0,
                   [&](Tensors& t) { kernels::where(t[0], t[1], t[2], t[3]); });
    }
  }
}

TEST(SimtBinary, Axpy) {
  for (const DType x : floating_dtypes)
    for (const DType y : floating_dtypes)
      for (const int64_t n : {0, 1, 9, 5003})
        expect_twins({numbers({n}, x, 1), numbers({n}, y, 2)}, tolerance(y),
                     [](Tensors& t) { kernels::axpy(t[0], t[1], -1.25); });
}

}  // namespace
}  // namespace mora::test
