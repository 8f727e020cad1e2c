#include "mora/adapters/factorized_init.h"

#include <Eigen/QR>
#include <Eigen/SVD>
#include <cmath>

#include "engine/random.h"
#include "kernels/copy.h"

namespace mora {
namespace {

using Matrix = Eigen::MatrixXd;
using RowMajor = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

Matrix to_eigen(const Tensor& w) {
  Tensor wide = Tensor::empty(w.shape(), DType::f64);
  kernels::copy(w, wide);
  return Eigen::Map<const RowMajor>(wide.data<double>(), w.dim(0), w.dim(1));
}

Tensor to_tensor(const Matrix& m) {
  Tensor t = Tensor::empty(Shape{m.rows(), m.cols()});
  using Floats = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  Eigen::Map<Floats>(t.mutable_data<float>(), m.rows(), m.cols()) = m.cast<float>();
  return t;
}

// An orthonormal basis of m's columns.
Matrix orthonormal(const Matrix& m) {
  return Eigen::HouseholderQR<Matrix>(m).householderQ() * Matrix::Identity(m.rows(), m.cols());
}

void check_rank(const Tensor& w, int64_t rank, std::string_view init) {
  require<ConfigError>(rank <= std::min(w.dim(0), w.dim(1)),
                       "adapter.rank: {}: with init {} at most {}, the smaller side of a weight {}", rank, init,
                       std::min(w.dim(0), w.dim(1)), w.shape());
}

}  // namespace

LoraFactors pissa_factors(const Tensor& weight, int64_t rank, double scaling, uint64_t seed, uint64_t index) {
  check_rank(weight, rank, "pissa");
  constexpr int64_t least_oversampling = 16;
  constexpr int most_iterations = 100;
  constexpr double still = 1e-11;  // relative change of Σσ²; the subspace is off by its root
  const Matrix w = to_eigen(weight);
  const int64_t columns = std::min(rank + std::max(rank, least_oversampling), std::min(w.rows(), w.cols()));
  const RandomStream stream({.seed = seed, .layer = index, .purpose = Purpose::init});
  Matrix start(w.cols(), columns);
  for (int64_t i = 0; i < start.size(); ++i) start.data()[i] = stream.normal(uint64_t(i));
  Matrix q = orthonormal(w * start);  // (out, columns)
  Eigen::JacobiSVD<Matrix> svd;
  Matrix v;
  double energy = -1;
  for (int i = 0; i < most_iterations; ++i) {
    v = orthonormal(w.transpose() * q);  // (in, columns)
    const Matrix image = w * v;          // (out, columns)
    const Eigen::HouseholderQR<Matrix> qr(image);
    q = qr.householderQ() * Matrix::Identity(image.rows(), columns);
    const Matrix core = qr.matrixQR().topRows(columns).triangularView<Eigen::Upper>();  // W ≈ Q·core·Vᵀ
    svd.compute(core, Eigen::ComputeFullU | Eigen::ComputeFullV);
    const double before = energy;
    energy = svd.singularValues().head(rank).squaredNorm();
    if (std::abs(energy - before) <= still * energy) break;
  }
  const Eigen::VectorXd roots = (svd.singularValues().head(rank) / scaling).cwiseSqrt();
  return {to_tensor(roots.asDiagonal() * (v * svd.matrixV().leftCols(rank)).transpose()),
          to_tensor(q * svd.matrixU().leftCols(rank) * roots.asDiagonal())};
}

LoraFactors olora_factors(const Tensor& weight, int64_t rank) {
  check_rank(weight, rank, "olora");
  const Matrix w = to_eigen(weight);
  const Matrix q = orthonormal(w.leftCols(rank));  // the first columns of Q are those of the first columns of W
  return {to_tensor(q.transpose() * w), to_tensor(q)};
}

}  // namespace mora
