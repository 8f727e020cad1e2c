// The calls around the library's products; the library itself is a stand-in here.
#include "kernels/matmul.h"

#include "cuda/twin.h"

namespace mora::test {
namespace {

using kernels::FrozenWeight;

Tensor random(const Shape& shape, DType dtype, uint64_t seed) {
  return tensor_of(normal_values(shape.numel(), seed), shape, dtype);
}

TEST(SimtMatmul, EveryTransposition) {
  for (const DType dtype : floating_dtypes) {
    for (int bits = 0; bits < 8; ++bits) {
      const kernels::MatmulShape shape{
          .transpose_a = bits % 2 == 1, .transpose_b = bits / 2 % 2 == 1, .accumulate = bits / 4 == 1};
      const Tensor a = random(shape.transpose_a ? Shape{7, 5} : Shape{5, 7}, dtype, 1);
      const Tensor b = random(shape.transpose_b ? Shape{3, 7} : Shape{7, 3}, dtype, 2);
      expect_twins({a, b, random({5, 3}, dtype, 3)}, 4 * tolerance(dtype),
                   [&](Tensors& t) { kernels::matmul(t[0], t[1], t[2], shape); });
    }
  }
  expect_twins({random({5, 7}, DType::bf16, 1), random({7, 3}, DType::bf16, 2), unwritten({5, 3}, DType::f32)},
               tolerance(DType::bf16), [](Tensors& t) { kernels::matmul(t[0], t[1], t[2], {}); });
}

TEST(SimtMatmul, NothingToMultiply) {
  for (const auto& [m, k, n] : {std::tuple(0, 3, 2), std::tuple(2, 0, 3), std::tuple(2, 3, 0)})
    for (const bool accumulate : {false, true})
      expect_twins({random({m, k}, DType::f32, 1), random({k, n}, DType::f32, 2), random({m, n}, DType::f32, 3)}, 0,
                   [&](Tensors& t) { kernels::matmul(t[0], t[1], t[2], {.accumulate = accumulate}); });
}

// W on the processor and on the device, of the activations' dtype and another.
TEST(SimtMatmul, LinearAndItsBackward) {
  for (const DType dtype : floating_dtypes) {
    for (const DType of_weight : {DType::f32, DType::bf16}) {
      for (const bool has_bias : {false, true}) {
        const Tensor weight = random({6, 9}, of_weight, 1), bias = has_bias ? random({6}, of_weight, 2) : Tensor();
        const FrozenWeight here(weight, bias);
        expect_twins(
            {random({4, 9}, dtype, 3), unwritten({4, 6}, dtype), random({4, 6}, dtype, 4), unwritten({4, 9}, dtype)},
            4 * std::max(tolerance(dtype), tolerance(of_weight)), [&](Tensors& t) {
              kernels::linear(t[0], here, t[1]);
              kernels::linear_backward(t[2], here, t[3]);
            });
      }
    }
  }
}

TEST(SimtMatmul, AWeightIsBroughtToTheDeviceOnceAndDropped) {
  const FrozenWeight w(random({6, 9}, DType::f32, 1), random({6}, DType::f32, 2));
  const auto first = w.resident(device, DType::bf16);
  EXPECT_EQ(first.weight.device(), device);
  EXPECT_EQ(first.bias.dtype(), DType::bf16);
  EXPECT_TRUE(w.resident(device, DType::bf16).weight.same_as(first.weight));
  w.drop_packed();
  EXPECT_FALSE(w.resident(device, DType::bf16).weight.same_as(first.weight));
}

}  // namespace
}  // namespace mora::test
