#include "autograd/ops/linear_cross_entropy.h"

#include <gtest/gtest.h>

#include "autograd/gradcheck.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/cross_entropy.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/reduce.h"
#include "engine/random.h"
#include "tolerance.h"

namespace mora {
namespace {

using Head = std::shared_ptr<const kernels::FrozenWeight>;

template <class T>
Tensor normal(const Shape& shape, uint64_t layer) {
  const RandomStream stream({.seed = 3, .layer = layer});
  std::vector<T> values(size_t(shape.numel()));
  for (size_t i = 0; i < values.size(); ++i) values[i] = T(stream.normal(i));
  return Tensor::from(values, shape);
}

template <class T>
Head head(int64_t vocabulary, int64_t d) {
  return std::make_shared<kernels::FrozenWeight>(normal<T>({vocabulary, d}, 1), Tensor());
}

Tensor labels_of(const std::vector<int32_t>& labels) { return Tensor::from(labels, {int64_t(labels.size())}); }

// Every third row is ignored.
Tensor labels_for(int64_t rows, int64_t vocabulary) {
  std::vector<int32_t> labels;
  for (int64_t n = 0; n < rows; ++n) labels.push_back(n % 3 == 1 ? -100 : int32_t(n * 7919 % vocabulary));
  return labels_of(labels);
}

template <class T>
void expect_equal(const Tensor& a, const Tensor& b, double tolerance) {
  ASSERT_EQ(a.shape(), b.shape());
  for (size_t i = 0; i < size_t(a.numel()); ++i) {
    const double expected = double(b.values<T>()[i]);
    ASSERT_NEAR(double(a.values<T>()[i]), expected, tolerance * (1 + std::abs(expected))) << "element " << i;
  }
}

TEST(LinearCrossEntropy, GradientsToSecondOrder) {
  const Head w = head<double>(6, 4);
  const Tensor labels = labels_of({2, -100, 5, 0});
  const Tensor x = normal<double>({4, 4}, 2), weights = normal<double>({4}, 3);
  auto f = [&](std::span<const Tensor> in) -> Tensors {
    return {linear_cross_entropy(in[0], w, Labelled(labels)) * weights};
  };
  EXPECT_EQ(check_grads(f, std::span(&x, 1), {.order = 2}), "");
}

// 200 rows of 2¹⁸ tokens make three chunks.
TEST(LinearCrossEntropy, ChunksGiveTheLossesAndGradientsOfWholeLogits) {
  constexpr int64_t rows = 200, vocabulary = 1 << 18;
  const Head w = head<float>(vocabulary, 3);
  const Tensor labels = labels_for(rows, vocabulary), weights = normal<float>({rows}, 3);
  const Tensor x = leaf(normal<float>({rows, 3}, 2));
  const Tensor chunked = linear_cross_entropy(x, w, Labelled(labels)), whole = cross_entropy(linear(x, w), labels);
  expect_equal<float>(chunked, whole, test::tolerance(DType::f32));
  expect_equal<float>(grad(sum(chunked * weights), std::span(&x, 1))[0],
                      grad(sum(whole * weights), std::span(&x, 1))[0], test::tolerance(DType::f32));
}

TEST(LinearCrossEntropy, ALossWithoutLabelsIsZeroAndHasZeroGradients) {
  const Head w = head<float>(5, 3);
  const Tensor x = leaf(normal<float>({2, 3}, 2));
  const Tensor loss = linear_cross_entropy(x, w, Labelled(labels_of({-100, -1})));
  const Tensor gradient = grad(sum(loss), std::span(&x, 1))[0];
  EXPECT_EQ(sum(loss).item(), 0);
  EXPECT_EQ(sum(gradient * gradient).item(), 0);
}

TEST(LinearCrossEntropy, WithoutGradientsTheLossIsTheSame) {
  const Head w = head<float>(50, 8);
  const Tensor x = normal<float>({9, 8}, 2), labels = labels_for(9, 50);
  expect_equal<float>(linear_cross_entropy(x, w, Labelled(labels)), linear_cross_entropy(leaf(x), w, Labelled(labels)),
                      0);
}

TEST(LinearCrossEntropy, WrongShapesAndLabelsAreErrors) {
  const Head w = head<float>(5, 3);
  const Tensor x = normal<float>({2, 3}, 2);
  EXPECT_THROW(linear_cross_entropy(x, w, Labelled(labels_of({1}))), ShapeError);
  EXPECT_THROW(linear_cross_entropy(x, w, Labelled(labels_of({1, 5}))), ShapeError);
  EXPECT_THROW(linear_cross_entropy(normal<float>({2, 4}, 2), w, Labelled(labels_of({1, 2}))), ShapeError);
  EXPECT_THROW(Labelled(Tensor::zeros({2}, DType::f32)), DTypeError);
}

}  // namespace
}  // namespace mora
