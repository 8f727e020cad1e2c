// Outputs that their own op computes again are not kept by those who need them in their backward.
#include <gtest/gtest.h>

#include <array>

#include "autograd/grad.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/elementary.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/norm.h"
#include "autograd/ops/reduce.h"
#include "engine/allocator.h"
#include "op_samples/sample.h"

namespace mora::test {
namespace {

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.meta() == b.meta() && std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

TEST(RecomputedOutput, OfAnActivationIsNotKept) {
  const Tensor x = leaf(constant({256, 1024}, 1, DType::f32)), w = leaf(constant({1024, 8}, 2, DType::f32));
  const int64_t before = memory_stats().live_bytes;
  const Tensor y = matmul(gelu(x), w);
  EXPECT_LT(memory_stats().live_bytes - before, int64_t(x.bytes()) / 8);
  const std::array inputs{x, w};
  const Tensor found = grad(sum(y), inputs)[1];

  const Tensor h = leaf(gelu(x));  // a leaf is saved as it is
  const std::array plain{h, w};
  EXPECT_TRUE(same_bits(found, grad(sum(matmul(h, w)), plain)[1]));
}

TEST(RecomputedOutput, ServesEveryReaderAndASecondBackward) {
  const Tensor x = leaf(constant({5, 16}, 1, DType::f32)), gain = constant({16}, 2, DType::f32);
  const Tensor a = leaf(constant({16, 4}, 3, DType::f32)), b = leaf(constant({16, 4}, 4, DType::f32));
  const Tensor h = rms_norm(x, gain, 1e-5);
  const Tensor loss = sum(matmul(h, a) * matmul(h, b));
  const std::array inputs{x, a, b};
  const Tensors first = grad(loss, inputs, {.retain_graph = true});
  const Tensors second = grad(loss, inputs);
  for (size_t i = 0; i < inputs.size(); ++i) EXPECT_TRUE(same_bits(first[i], second[i])) << i;
  EXPECT_THROW(grad(loss, inputs), AutogradError);
}

}  // namespace
}  // namespace mora::test
