#include "kernels/softmax.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "engine/parallel.h"
#include "kernels/values.h"

namespace mora::test {
namespace {

DType statistics_of(DType dtype) { return dtype == DType::f64 ? DType::f64 : DType::f32; }

double logsumexp(const double* x, int64_t n) {
  const double largest = *std::max_element(x, x + n);
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += std::exp(x[i] - largest);
  return largest + std::log(sum);
}

struct Problem {
  int64_t rows, length;
  Tensor x, gy;

  Problem(int64_t n, int64_t v, DType dtype, double scale = 2)
      : rows(n),
        length(v),
        x(tensor_of(normal_values(n * v, 1, scale), {n, v}, dtype)),
        gy(tensor_of(normal_values(n * v, 2), {n, v}, dtype)) {}

  Tensor map_x(const decltype(kernels::softmax)& kernel) const {
    Tensor y = Tensor::empty(x.meta());
    kernel(x, y);
    return y;
  }

  void check_softmax() const {
    const double close = tolerance(x.dtype());
    const Values x64 = values_of(x), gy64 = values_of(gy);
    const Tensor y = map_x(kernels::softmax), log_y = map_x(kernels::log_softmax);
    Tensor gx = Tensor::empty(x.meta()), log_gx = Tensor::empty(x.meta());
    kernels::softmax_backward(y, gy, gx);
    kernels::log_softmax_backward(log_y, gy, log_gx);
    const Values kept = values_of(y), log_kept = values_of(log_y);  // what the backward sees, rounded
    Values p(x64.size()), log_p(x64.size()), g(x64.size()), log_g(x64.size());
    for (int64_t n = 0; n < rows; ++n) {
      const int64_t at = n * length;
      const double lse = logsumexp(&x64[size_t(at)], length);
      double sum = 0, sum_gy = 0;
      for (int64_t i = at; i < at + length; ++i) {
        log_p[size_t(i)] = x64[size_t(i)] - lse;
        p[size_t(i)] = std::exp(log_p[size_t(i)]);
        sum += gy64[size_t(i)] * kept[size_t(i)];
        sum_gy += gy64[size_t(i)];
      }
      for (int64_t i = at; i < at + length; ++i) {
        g[size_t(i)] = kept[size_t(i)] * (gy64[size_t(i)] - sum);
        log_g[size_t(i)] = gy64[size_t(i)] - std::exp(log_kept[size_t(i)]) * sum_gy;
      }
    }
    EXPECT_LT(difference(kept, p), close);
    EXPECT_LT(difference(log_kept, log_p), close);
    EXPECT_LT(difference(values_of(gx), g), close);
    EXPECT_LT(difference(values_of(log_gx), log_g), 4 * close);
  }
};

class SoftmaxOfDType : public testing::TestWithParam<DType> {};
INSTANTIATE_TEST_SUITE_P(All, SoftmaxOfDType, testing::Values(DType::f64, DType::f32, DType::bf16, DType::f16),
                         [](const auto& tested) { return std::string(name_of(tested.param)); });

TEST_P(SoftmaxOfDType, AgreesWithF64) {
  for (int64_t rows : {0, 1, 3, 50})
    for (int64_t length : {1, 2, 15, 16, 17, 100, 4096, 4097}) {
      SCOPED_TRACE(fmt::format("{} rows of {}", rows, length));
      Problem(rows, length, GetParam()).check_softmax();
    }
  Problem(1, 49152, GetParam()).check_softmax();
}

TEST_P(SoftmaxOfDType, CrossEntropyAndItsGradient) {
  const DType dtype = GetParam(), statistics = statistics_of(dtype);
  for (auto [rows, length] : {std::pair<int64_t, int64_t>{7, 2}, {5, 33}, {1, 49152}, {3, 5000}}) {
    SCOPED_TRACE(fmt::format("{} rows of {}", rows, length));
    const Problem problem(rows, length, dtype);
    std::vector<int32_t> labels;
    for (int64_t n = 0; n < rows; ++n) labels.push_back(n % 4 == 3 ? -100 : int32_t((n * 7919 + length - 1) % length));
    const Tensor label = Tensor::from(labels, {rows});
    const Tensor gloss = tensor_of(normal_values(rows, 5), {rows}, statistics);
    Tensor loss = Tensor::empty({rows}, statistics), lse = Tensor::empty({rows}, statistics);
    kernels::cross_entropy(problem.x, label, loss, lse);
    Tensor gx = Tensor::empty(problem.x.meta());
    kernels::cross_entropy_backward(problem.x, label, lse, gloss, gx);

    const Values x = values_of(problem.x), g = values_of(gloss);
    Values expected_loss, expected_lse, expected_gx;
    for (int64_t n = 0; n < rows; ++n) {
      const int32_t chosen = labels[size_t(n)];
      expected_lse.push_back(logsumexp(&x[size_t(n * length)], length));
      expected_loss.push_back(chosen < 0 ? 0 : expected_lse.back() - x[size_t(n * length + chosen)]);
      for (int64_t v = 0; v < length; ++v)
        expected_gx.push_back(
            chosen < 0 ? 0
                       : g[size_t(n)] * (std::exp(x[size_t(n * length + v)] - expected_lse.back()) - (v == chosen)));
    }
    EXPECT_LT(difference(values_of(lse), expected_lse), tolerance(statistics));
    EXPECT_LT(difference(values_of(loss), expected_loss), tolerance(statistics));
    EXPECT_LT(difference(values_of(gx), expected_gx), tolerance(dtype));

    Tensor in_place = tensor_of(x, problem.x.shape(), dtype);
    kernels::cross_entropy_backward(in_place, label, lse, gloss, in_place);
    EXPECT_EQ(values_of(in_place), values_of(gx));
  }
}

TEST(Softmax, LargeAndInfiniteScores) {
  const double inf = HUGE_VAL;
  const Values x{1e30, 1e30, -1e30, -inf, -inf, 5, 88, 89, 90, 1000, 999, -1000};
  for (DType dtype : {DType::f32, DType::f64}) {
    Tensor y = Tensor::empty({4, 3}, dtype);
    kernels::softmax(tensor_of(x, {4, 3}, dtype), y);
    const double e = std::exp(1), z = 1 + e + e * e;
    EXPECT_LT(difference(values_of(y), {0.5, 0.5, 0, 0, 0, 1, 1 / z, e / z, e * e / z, e / (1 + e), 1 / (1 + e), 0}),
              1e-6);
  }
}

TEST(Softmax, ARowWithChunksOfNothingButMinusInfinity) {
  Values x(3 * 4096, -HUGE_VAL);
  x[5000] = 1;
  x[5001] = 1;
  Tensor y = Tensor::empty({1, int64_t(x.size())});
  kernels::softmax(tensor_of(x, y.shape(), DType::f32), y);
  Values expected(x.size());
  expected[5000] = expected[5001] = 0.5;
  EXPECT_LT(difference(values_of(y), expected), 1e-6);
}

TEST(Softmax, NanFillsItsRowAlone) {
  Problem problem(3, 40, DType::f32);
  problem.x.mutable_data<float>()[41] = NAN;
  const Values y = values_of(problem.map_x(kernels::softmax));
  for (size_t i = 0; i < y.size(); ++i) EXPECT_EQ(std::isnan(y[i]), i / 40 == 1) << i;
}

TEST(Softmax, ResultsDoNotDependOnTheNumberOfThreads) {
  const int before = threads();
  for (int64_t rows : {1, 2, 9}) {
    const Problem problem(rows, 49152, DType::f32);
    set_threads(1);
    const Values one = values_of(problem.map_x(kernels::softmax));
    set_threads(4);
    EXPECT_EQ(values_of(problem.map_x(kernels::softmax)), one) << rows;
  }
  set_threads(before);
}

TEST(Softmax, ALabelOutOfRangeIsNamed) {
  const Problem problem(2, 3, DType::f32);
  Tensor loss = Tensor::empty({2}), lse = Tensor::empty({2});
  EXPECT_THROW(kernels::cross_entropy(problem.x, Tensor::from(std::vector<int32_t>{0, 3}, {2}), loss, lse), ShapeError);
}

}  // namespace
}  // namespace mora::test
