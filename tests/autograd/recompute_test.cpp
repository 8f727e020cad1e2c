// Recomputation: the gradients of f, bit by bit, without what f's ops save.
#include "autograd/recompute.h"

#include <gtest/gtest.h>

#include "autograd/gradcheck.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/dropout.h"
#include "autograd/ops/elementary.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/norm.h"
#include "autograd/ops/reduce.h"
#include "engine/allocator.h"
#include "op_samples/sample.h"

namespace mora::test {
namespace {

// x + drop(gelu(norm(x)·Wᵀ))·Vᵀ with parameters that the function is not given.
struct Block {
  Tensor w, v, gain, shift;
  uint64_t layer;

  Block(int64_t width, uint64_t index, DType dtype = DType::f32)
      : w(leaf(constant({4 * width, width}, 10 * index + 1, dtype))),
        v(leaf(constant({width, 4 * width}, 10 * index + 2, dtype))),
        gain(leaf(constant({width}, 10 * index + 3, dtype))),
        shift(leaf(constant({width}, 10 * index + 4, dtype))),
        layer(index) {}

  Tensor operator()(const Tensor& x) const {
    const Tensor h = gelu(matmul(layer_norm(x, gain, shift, 1e-5), w, false, true));
    return x + matmul(dropout(h, 0.1, {.seed = 5, .layer = layer}), v, false, true) * 0.05;
  }
  Tensor recomputed(const Tensor& x) const {
    return recompute([this](std::span<const Tensor> in) -> Tensors { return {(*this)(in[0])}; }, std::span(&x, 1))[0];
  }
};

void expect_same(const Tensors& a, const Tensors& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    ASSERT_EQ(a[i].meta(), b[i].meta()) << i;
    EXPECT_EQ(std::memcmp(a[i].raw(), b[i].raw(), a[i].bytes()), 0) << "gradient " << i;
  }
}

class RecomputeTest : public testing::Test {
 protected:
  static constexpr int64_t width = 24, rows = 32;
  std::vector<Block> blocks{{width, 1}, {width, 2}, {width, 3}};
  Tensor x = leaf(constant({rows, width}, 9, DType::f32));

  Tensor loss(bool recomputed) const {
    Tensor y = x;
    for (const Block& block : blocks) y = recomputed ? block.recomputed(y) : block(y);
    return mean(square(y));
  }
  Tensors variables() const {
    Tensors list{x};
    for (const Block& b : blocks) list.insert(list.end(), {b.w, b.v, b.gain, b.shift});
    return list;
  }
};

TEST_F(RecomputeTest, GradientsAreTheSameBits) {
  const Tensor plain = loss(false), again = loss(true);
  EXPECT_EQ(plain.item(), again.item());
  expect_same(grad(again, variables()), grad(plain, variables()));
}

TEST_F(RecomputeTest, KeepsOnlyTheInputs) {
  auto bytes_of = [&](bool recomputed) {
    const int64_t before = memory_stats().live_bytes;
    const Tensor y = loss(recomputed);
    return memory_stats().live_bytes - before;
  };
  bytes_of(true);  // buffers of the kernels
  const int64_t activation = rows * width * 4;
  EXPECT_LT(bytes_of(true), 5 * activation);
  EXPECT_GT(bytes_of(false), 24 * activation);
}

TEST_F(RecomputeTest, OnlyWhatIsAskedForIsDifferentiated) {
  const Tensor some[] = {blocks[2].w, blocks[0].gain};
  expect_same(grad(loss(true), some), grad(loss(false), some));
}

TEST_F(RecomputeTest, Nests) {
  auto both = [this](std::span<const Tensor> in) -> Tensors {
    return {blocks[1].recomputed(blocks[0].recomputed(in[0]))};
  };
  const Tensor y = recompute(both, std::span(&x, 1))[0];
  const Tensor wanted[] = {x, blocks[0].w, blocks[1].v};
  expect_same(grad(mean(y), wanted), grad(mean(blocks[1](blocks[0](x))), wanted));
}

TEST_F(RecomputeTest, WithoutAGradientItIsTheFunction) {
  const Tensor constant_ = x.detach();
  auto twice = [](std::span<const Tensor> in) -> Tensors { return {in[0] * 2.0}; };
  EXPECT_FALSE(requires_grad(recompute(twice, std::span(&constant_, 1))[0]));
  NoGrad off;
  EXPECT_FALSE(requires_grad(blocks[0].recomputed(x)));
}

TEST_F(RecomputeTest, AGraphIsUsedOnceUnlessRetained) {
  const Tensor y = loss(true);
  const Tensors first = grad(y, variables(), {.retain_graph = true});
  expect_same(grad(y, variables()), first);
  EXPECT_THROW(grad(y, variables()), AutogradError);
}

TEST_F(RecomputeTest, WritingToAnInputThrows) {
  const Tensor y = blocks[0].recomputed(x);
  x.mutable_data<float>()[0] = 1;
  EXPECT_THROW(grad(sum(y), std::span(&blocks[0].w, 1)), AutogradError);
}

TEST(RecomputeDerivatives, OfSecondOrderThroughInputsAndWhatIsCaptured) {
  const Tensor x = constant({3, 4}, 1, DType::f64), w = constant({2, 4}, 2, DType::f64);
  auto f = [](std::span<const Tensor> in) -> Tensors {
    const Tensor shared = exp(in[1] * 0.3);  // captured, with a history of its own, twice
    auto inner = [shared](std::span<const Tensor> given) -> Tensors {
      const Tensor y = matmul(given[0], shared, false, true);
      return {tanh(y), sum(square(shared)) * given[1]};
    };
    // One tensor in two places, and an output that is an input of the rest.
    const Tensor given[] = {in[0], in[0]};
    const Tensors y = recompute(inner, given);
    return {square(y[0]), y[1] + in[0]};
  };
  EXPECT_EQ(check_grads(f, std::vector<Tensor>{x, w}), "");
}

TEST(RecomputeDerivatives, ManyCapturedTensors) {  // more than a word has bits
  Tensors weights;
  for (uint64_t i = 0; i < 100; ++i) weights.push_back(leaf(constant({2}, i, DType::f64)));
  const Tensor x = leaf(constant({2}, 200, DType::f64));
  auto f = [&](std::span<const Tensor> in) -> Tensors {
    Tensor y = in[0];
    for (const Tensor& w : weights) y = sin(y * w);
    return {y};
  };
  expect_same(grad(sum(recompute(f, std::span(&x, 1))[0]), weights), grad(sum(f(std::span(&x, 1))[0]), weights));
}

}  // namespace
}  // namespace mora::test
