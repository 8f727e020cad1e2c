#include "kernels/reduce.h"

#include "cuda/twin.h"

namespace mora::test {
namespace {

using kernels::Reduce;

Tensor numbers(const Shape& shape, DType dtype, uint64_t seed = 1) {
  return tensor_of(normal_values(shape.numel(), seed), shape, dtype);
}

void expect_reduced(const Tensor& x, uint32_t dims, Reduce f) {
  Shape shape = x.shape();
  int64_t count = 1;
  for (int i = 0; i < x.rank(); ++i) {
    if (!(dims >> i & 1u)) continue;
    count *= shape[i];
    shape[i] = 1;
  }
  SCOPED_TRACE(fmt::format("{} over {:b}", x.shape(), dims));
  // A sum of n numbers in f32 is as far off as √n of them.
  const double factor = f == Reduce::sum && x.dtype() != DType::bf16 ? std::max(1., std::sqrt(double(count)) / 10) : 1;
  expect_twins({x, unwritten(shape, x.dtype())}, f == Reduce::sum ? factor * tolerance(x.dtype()) : 0,
               [&](Tensors& t) { kernels::reduce(t[0], t[1], dims, f); });
}

TEST(SimtReduce, OverAnyDimensions) {
  for (const DType dtype : floating_dtypes) {
    for (const Reduce f : {Reduce::sum, Reduce::maximum}) {
      for (uint32_t dims = 0; dims < 16; ++dims) expect_reduced(numbers({3, 5, 7, 16}, dtype), dims, f);
      for (const int64_t n : {1, 31, 4099, 40000}) {
        expect_reduced(numbers({n}, dtype), 1, f);
        expect_reduced(numbers({3, n}, dtype), 2, f);
        expect_reduced(numbers({n, 3}, dtype), 1, f);
      }
      expect_reduced(numbers({600, 264}, dtype), 1, f);
      expect_reduced(numbers({2, 300, 33}, dtype), 5, f);
      expect_reduced(numbers({0, 4}, dtype), 2, f);
    }
    expect_reduced(numbers({0, 4}, dtype), 1, Reduce::sum);
  }
}

TEST(SimtReduce, AMaximumOverANaNIsNaN) {
  const Tensor x = tensor_of({1, NAN, 3, -HUGE_VAL, -HUGE_VAL, -HUGE_VAL, 2, 3, NAN}, {3, 3}, DType::f32);
  expect_reduced(x, 2, Reduce::maximum);
  expect_reduced(x, 1, Reduce::maximum);
  const Tensor nothing = Tensor::zeros({0, 4}, DType::f32, device);
  Tensor y = Tensor::zeros({1, 4}, DType::f32, device);
  EXPECT_THROW(kernels::reduce(nothing, y, 1, Reduce::maximum), ShapeError);
}

TEST(SimtReduce, Argmax) {
  const auto expect_argmax = [](const Tensor& x) {
    expect_twins({x, unwritten({x.dim(0)}, DType::i32)}, 0, [](Tensors& t) { kernels::argmax(t[0], t[1]); });
  };
  for (const DType dtype : floating_dtypes)
    for (const Shape& shape : {Shape{1, 1}, Shape{0, 5}, Shape{7, 33}, Shape{5, 3001}})
      expect_argmax(numbers(shape, dtype));
  expect_argmax(tensor_of({1, 2, 2, NAN, 3, NAN, -HUGE_VAL, -HUGE_VAL, -HUGE_VAL}, {3, 3}, DType::f32));
}

TEST(SimtReduce, SumOfSquares) {
  for (const DType dtype : floating_dtypes)
    for (const int64_t n : {0, 1, 9, 16385, 40000})
      expect_twins({numbers({n}, dtype), unwritten({1}, DType::f64)}, 1e-12,
                   [](Tensors& t) { kernels::sum_of_squares(t[0], t[1]); });
}

TEST(SimtReduce, SegmentMeans) {
  for (const DType dtype : floating_dtypes) {
    for (const std::vector<int32_t>& offsets :
         {std::vector<int32_t>{0}, {0, 0}, {0, 1}, {0, 3, 3, 4, 17, 17}, {0, 700}}) {
      const int64_t segments = int64_t(offsets.size()) - 1, rows = offsets.back();
      const Tensor at = Tensor::from(offsets, {segments + 1});
      for (const int64_t d : {1, 48, 1033}) {
        expect_twins({numbers({rows, d}, dtype), at, unwritten({segments, d}, dtype)}, tolerance(dtype),
                     [](Tensors& t) { kernels::segment_mean(t[0], t[1], t[2]); });
        expect_twins({numbers({segments, d}, dtype), at, unwritten({rows, d}, dtype)}, tolerance(dtype),
                     [](Tensors& t) { kernels::segment_mean_backward(t[0], t[1], t[2]); });
      }
    }
  }
}

}  // namespace
}  // namespace mora::test
