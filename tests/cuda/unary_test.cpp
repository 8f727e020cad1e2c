#include "kernels/unary.h"

#include "cuda/twin.h"

namespace mora::test {
namespace {

using kernels::Unary;

// None, one, about a pack, about a block, several blocks that go round more than once.
constexpr int64_t sizes[] = {0, 1, 7, 8, 9, 2047, 2049, 20003};

Tensor numbers(int64_t n, DType dtype, uint64_t seed = 1) { return tensor_of(normal_values(n, seed, 2), {n}, dtype); }

// f(tensors) for tensors of each dtype and size: `inputs` of numbers, then `outputs` to fill.
void expect_twins_of_all_sizes(int inputs, int outputs, const TensorFunction& f, double factor = 1) {
  for (const DType dtype : floating_dtypes) {
    for (const int64_t n : sizes) {
      Tensors tensors;
      for (int i = 0; i < inputs; ++i) tensors.push_back(numbers(n, dtype, uint64_t(n + i)));
      for (int i = 0; i < outputs; ++i) tensors.push_back(unwritten({n}, dtype));
      expect_twins(tensors, factor * tolerance(dtype), f);
    }
  }
}

TEST(SimtUnary, EveryFunction) {
  for (int f = 0; f <= int(Unary::silu); ++f) {
    SCOPED_TRACE(kernels::unary_name(Unary(f)));
    expect_twins_of_all_sizes(1, 1, [&](Tensors& t) { kernels::unary(t[0], t[1], Unary(f)); });
  }
}

TEST(SimtUnary, SpecialValues) {
  for (const DType dtype : floating_dtypes) {
    const Tensor x = tensor_of({HUGE_VAL, -HUGE_VAL, NAN, 0., -0., 89, -110, 6e4, 1e-7}, {9}, dtype);
    for (int f = 0; f <= int(Unary::silu); ++f) {
      SCOPED_TRACE(kernels::unary_name(Unary(f)));
      expect_twins({x, unwritten({9}, dtype)}, tolerance(dtype),
                   [&](Tensors& t) { kernels::unary(t[0], t[1], Unary(f)); });
    }
    expect_twins({x, unwritten({9}, dtype)}, 0, [&](Tensors& t) { kernels::clamp(t[0], t[1], -1, 1); });
  }
}

TEST(SimtUnary, Backward) {
  for (const Unary f : {Unary::gelu, Unary::gelu_tanh, Unary::silu})
    expect_twins_of_all_sizes(2, 1, [&](Tensors& t) { kernels::unary_backward(t[0], t[1], t[2], f); });
}

TEST(SimtUnary, AffineAndClamp) {
  expect_twins_of_all_sizes(1, 1, [](Tensors& t) { kernels::affine(t[0], t[1], 1.5, -0.25); });
  expect_twins_of_all_sizes(1, 1, [](Tensors& t) { kernels::clamp(t[0], t[1], -1, 0.5); });
}

TEST(SimtUnary, Power) {
  for (const double e : {-2., 0., 1., 3., 0.5, -0.5, 1.7})
    expect_twins_of_all_sizes(
        1, 1, [&](Tensors& t) { kernels::power(t[0], t[1], e); }, 4);
}

TEST(SimtUnary, Swiglu) {
  expect_twins_of_all_sizes(2, 1, [](Tensors& t) { kernels::swiglu(t[0], t[1], t[2]); });
  expect_twins_of_all_sizes(3, 2, [](Tensors& t) { kernels::swiglu_backward(t[0], t[1], t[2], t[3], t[4]); });
}

TEST(SimtUnary, DropoutKeepsTheSameElements) {
  const RandomKey key{.seed = 0x123456789ABCDEF0, .epoch = 2, .step = 77, .layer = 5, .purpose = Purpose::dropout};
  for (const double p : {0., 0.1, 0.9, 1.})
    expect_twins_of_all_sizes(
        1, 1, [&](Tensors& t) { kernels::dropout(t[0], t[1], p, key, Tensor()); }, 0);
  const Tensor x = numbers(1000, DType::f32), clock = Tensor::from(std::vector<int64_t>{3, 78}, {2});
  expect_twins({x, unwritten({1000}, DType::f32), clock}, 0,
               [&](Tensors& t) { kernels::dropout(t[0], t[1], 0.4, key, t[2]); });
}

// A view from the middle of a tensor cannot be moved by 16 bytes.
TEST(SimtUnary, UnalignedViews) {
  for (const DType dtype : floating_dtypes) {
    const Tensor x = numbers(1000, dtype), y = unwritten({1000}, dtype);
    for (const TensorFunction& f :
         {TensorFunction([](Tensors& t) { kernels::unary(t[0], t[1], Unary::exp); }),
          TensorFunction([](Tensors& t) { kernels::dropout(t[0], t[1], 0.5, {.seed = 5}, Tensor()); })}) {
      expect_twins({x, y}, 4 * tolerance(dtype), [&](Tensors& t) {
        Tensors middle = {t[0].alias({990}, {1}, 3), t[1].alias({990}, {1}, 5)};
        f(middle);
      });
    }
  }
}

TEST(SimtUnary, RefusesIntegers) {
  const Tensor x = Tensor::zeros({3}, DType::i32, device);
  Tensor y = Tensor::zeros({3}, DType::i32, device);
  EXPECT_THROW(kernels::unary(x, y, Unary::exp), DTypeError);
}

TEST(SimtUnary, RefusesTensorsOfTheProcessor) {
  const Tensor x = Tensor::zeros({3}, DType::f32, device);
  Tensor y = Tensor::zeros({3});
  EXPECT_THROW(kernels::unary(x, y, Unary::exp), DeviceError);
}

}  // namespace
}  // namespace mora::test
