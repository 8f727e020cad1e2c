#include "kernels/copy.h"

#include "cuda/twin.h"

namespace mora::test {
namespace {

constexpr DType all_dtypes[] = {DType::f64, DType::f32, DType::bf16, DType::f16,
                                DType::i64, DType::i32, DType::u8,   DType::boolean};

// Small numbers that every dtype holds in some way.
Tensor numbers(const Shape& shape, DType dtype) {
  Values values = normal_values(shape.numel(), 5, 40);
  for (double& v : values) v = dtype == DType::u8 || dtype == DType::boolean ? std::round(std::abs(v)) : v;
  const Tensor exact = tensor_of(values, shape, DType::f64);
  Tensor result = Tensor::empty(shape, dtype);
  kernels::copy(exact, result);
  return result;
}

void expect_copies(const Tensor& x, const Tensor& y) {
  SCOPED_TRACE(
      fmt::format("{} {} {} into {} {}", x.shape(), x.strides(), name_of(x.dtype()), y.strides(), name_of(y.dtype())));
  expect_twins({x, y}, 0, [](Tensors& t) { kernels::copy(t[0], t[1]); });
}

TEST(SimtCopy, EveryPairOfDtypes) {
  for (const DType from : all_dtypes)
    for (const DType to : all_dtypes)
      for (const int64_t n : {0, 1, 15, 1031}) expect_copies(numbers({n}, from), unwritten({n}, to));
}

TEST(SimtCopy, RoundsToNearestEven) {
  const Tensor x = tensor_of({1 + 0x1p-8, 1 + 0x3p-8, 65520, 1e30, NAN, -HUGE_VAL, 0x1p-25, -0.}, {8}, DType::f32);
  for (const DType to : {DType::bf16, DType::f16, DType::f64}) expect_copies(x, unwritten({8}, to));
}

TEST(SimtCopy, AnyStrides) {
  for (const DType dtype : all_dtypes) {
    const Tensor x = numbers({5, 48, 7}, dtype);
    expect_copies(x.alias({5, 48, 7}, x.strides(), 0), unwritten({5, 48, 7}, dtype));
    expect_copies(x.alias({5, 7, 48}, {336, 1, 7}, 0), unwritten({5, 7, 48}, dtype));  // matrices transposed
    expect_copies(x.alias({48, 35}, {1, 48}, 0), unwritten({48, 35}, dtype));          // one, of several tiles
    expect_copies(x.alias({7, 48, 5}, {1, 7, 336}, 0), unwritten({7, 48, 5}, dtype));  // all turned
    expect_copies(x.alias({3, 5, 2}, {0, 16, 3}, 9), unwritten({3, 5, 2}, dtype));     // stretched
    expect_copies(x.alias({5, 16}, {336, 1}, 48), unwritten({5, 16}, dtype));          // dense rows, in groups
    expect_copies(x.alias({5, 16}, {336, 1}, 3), unwritten({5, 16}, dtype));           // that start anywhere
    const Tensor y = numbers({5, 2, 48, 7}, dtype);
    expect_copies(x, y.alias({5, 48, 7}, {672, 7, 1}, 336));                      // into one half
    expect_copies(x.alias({48, 35}, {1, 48}, 0), y.alias({48, 35}, {1, 48}, 2));  // both columns
    const DType other = dtype == DType::f32 ? DType::bf16 : DType::f32;
    expect_copies(x.alias({5, 7, 48}, {336, 1, 7}, 0), unwritten({5, 7, 48}, other));
  }
}

TEST(SimtCopy, Fill) {
  for (const DType dtype : all_dtypes)
    for (const int64_t n : {0, 1, 15, 5003})
      for (const double value : {0., 1., 2.71828})
        expect_twins({unwritten({n}, dtype)}, 0, [&](Tensors& t) { kernels::fill(t[0], value); });
}

}  // namespace
}  // namespace mora::test
