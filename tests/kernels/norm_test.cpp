#include "kernels/norm.h"

#include <gtest/gtest.h>

#include "engine/parallel.h"
#include "kernels/values.h"

namespace mora::test {
namespace {

constexpr double eps = 1e-5;

DType statistics_of(DType dtype) { return dtype == DType::f64 ? DType::f64 : DType::f32; }

struct Reference {
  Values y, mean, rstd, gx, gw, gb;
};

// Written out in f64; `centred` is layer norm, else RMS norm and b is not used.
Reference norm_reference(const Values& x, const Values& w, const Values& b, const Values& gy, bool centred) {
  const size_t d = w.size(), rows = d == 0 ? 0 : x.size() / d;
  Reference r{Values(x.size()), Values(rows), Values(rows), Values(x.size()), Values(d), Values(d)};
  for (size_t n = 0; n < rows; ++n) {
    const double* row = &x[n * d];
    const double* g = &gy[n * d];
    double mean = 0, var = 0, sum_g = 0, sum_gx = 0;
    for (size_t i = 0; i < d && centred; ++i) mean += row[i] / double(d);
    for (size_t i = 0; i < d; ++i) var += (row[i] - mean) * (row[i] - mean) / double(d);
    const double rstd = 1 / std::sqrt(var + eps);
    r.mean[n] = mean;
    r.rstd[n] = rstd;
    for (size_t i = 0; i < d; ++i) {
      const double normal = (row[i] - mean) * rstd;
      r.y[n * d + i] = normal * w[i] + (centred ? b[i] : 0);
      r.gw[i] += g[i] * normal;
      r.gb[i] += g[i];
      sum_g += centred ? g[i] * w[i] / double(d) : 0;
      sum_gx += g[i] * w[i] * normal / double(d);
    }
    for (size_t i = 0; i < d; ++i) r.gx[n * d + i] = rstd * (g[i] * w[i] - sum_g - (row[i] - mean) * rstd * sum_gx);
  }
  return r;
}

struct Problem {
  Tensor x, w, b, gy;
  bool centred;

  Problem(int64_t rows, int64_t d, DType dtype, DType weights, bool is_centred, double scale = 1)
      : x(tensor_of(normal_values(rows * d, 1, scale), {rows, d}, dtype)),
        w(tensor_of(normal_values(d, 2), {d}, weights)),
        b(tensor_of(normal_values(d, 3), {d}, weights)),
        gy(tensor_of(normal_values(rows * d, 4), {rows, d}, dtype)),
        centred(is_centred) {}

  struct Outputs {
    Tensor y, mean, rstd, gx, gw, gb;
  };
  Outputs run() const {
    const Shape rows{x.dim(0)};
    const DType statistics = statistics_of(x.dtype());
    Outputs o{Tensor::empty(x.meta()), Tensor::empty(rows, statistics), Tensor::empty(rows, statistics),
              Tensor::empty(x.meta()), Tensor::empty(w.meta()),         Tensor::empty(w.meta())};
    if (centred) {
      kernels::layer_norm(x, w, b, o.y, o.mean, o.rstd, eps);
      kernels::layer_norm_backward(x, w, o.mean, o.rstd, gy, o.gx, o.gw, o.gb);
    } else {
      kernels::rms_norm(x, w, o.y, o.rstd, eps);
      kernels::rms_norm_backward(x, w, o.rstd, gy, o.gx, o.gw);
    }
    return o;
  }
  void check(double factor) const {
    const Outputs o = run();
    const Reference r = norm_reference(values_of(x), values_of(w), values_of(b), values_of(gy), centred);
    const double close = factor * tolerance(x.dtype());
    EXPECT_LT(difference(values_of(o.y), r.y), close);
    EXPECT_LT(difference(values_of(o.rstd), r.rstd), factor * tolerance(statistics_of(x.dtype())));
    EXPECT_LT(difference(values_of(o.gx), r.gx), close);
    const double close_sums = std::max(close, factor * tolerance(w.dtype()));
    EXPECT_LT(difference(values_of(o.gw), r.gw), close_sums);
    if (!centred) return;
    EXPECT_LT(difference(values_of(o.mean), r.mean), factor * tolerance(statistics_of(x.dtype())));
    EXPECT_LT(difference(values_of(o.gb), r.gb), close_sums);
  }
};

class NormOfDType : public testing::TestWithParam<DType> {};
INSTANTIATE_TEST_SUITE_P(All, NormOfDType, testing::Values(DType::f64, DType::f32, DType::bf16, DType::f16),
                         [](const auto& tested) { return std::string(name_of(tested.param)); });

TEST_P(NormOfDType, AgreesWithF64) {
  for (bool centred : {true, false})
    for (int64_t d : {1, 2, 15, 16, 17, 63, 384, 576, 1000})
      for (int64_t rows : {0, 1, 7, 100}) {
        SCOPED_TRACE(fmt::format("layer norm {}, {} rows of {}", centred, rows, d));
        Problem(rows, d, GetParam(), GetParam(), centred).check(d <= 2 ? 400 : 4);
        Problem(rows, d, GetParam(), DType::f32, centred).check(d <= 2 ? 400 : 4);
      }
}

TEST(Norm, LargeMeansAndConstantRows) {
  Problem shifted(3, 384, DType::f32, DType::f32, true);
  for (int64_t i = 0; i < shifted.x.numel(); ++i) shifted.x.mutable_data<float>()[i] += 1000;
  shifted.check(200);  // x itself holds six digits of the deviations
  Problem constant(2, 100, DType::f32, DType::f32, true);
  for (int64_t i = 0; i < constant.x.numel(); ++i) constant.x.mutable_data<float>()[i] = 3;
  constant.check(4);
  EXPECT_EQ(values_of(constant.run().y), [&] {
    Values twice = values_of(constant.b);
    const Values once = twice;
    twice.insert(twice.end(), once.begin(), once.end());
    return twice;
  }());
}

TEST(Norm, UndefinedGradientsAreSkipped) {
  const Problem problem(5, 33, DType::f32, DType::f32, true);
  const auto all = problem.run();
  Tensor none, gx = Tensor::empty(problem.x.meta()), gw = Tensor::empty(problem.w.meta());
  kernels::layer_norm_backward(problem.x, problem.w, all.mean, all.rstd, problem.gy, gx, none, none);
  EXPECT_EQ(values_of(gx), values_of(all.gx));
  kernels::layer_norm_backward(problem.x, problem.w, all.mean, all.rstd, problem.gy, none, gw, none);
  EXPECT_EQ(values_of(gw), values_of(all.gw));
}

TEST(Norm, RowsDoNotDependOnTheNumberOfThreads) {
  const Problem problem(1000, 384, DType::f32, DType::f32, true);
  const int before = threads();
  set_threads(1);
  const auto one = problem.run();
  set_threads(3);
  const auto three = problem.run(), again = problem.run();
  set_threads(before);
  EXPECT_EQ(values_of(one.y), values_of(three.y));
  EXPECT_EQ(values_of(one.gx), values_of(three.gx));
  EXPECT_LT(difference(values_of(one.gw), values_of(three.gw)), 1e-4);
  EXPECT_EQ(values_of(three.gw), values_of(again.gw));
}

TEST(Norm, NanStaysInItsRow) {
  Problem problem(3, 20, DType::f32, DType::f32, false);
  problem.x.mutable_data<float>()[25] = NAN;
  const Values y = values_of(problem.run().y);
  for (size_t i = 0; i < y.size(); ++i) EXPECT_EQ(std::isnan(y[i]), i / 20 == 1) << i;
}

TEST(Norm, WrongShapesAreNamed) {
  Problem problem(3, 20, DType::f32, DType::f32, true);
  problem.w = Tensor::zeros({19});
  EXPECT_THROW(problem.run(), ShapeError);
}

}  // namespace
}  // namespace mora::test
