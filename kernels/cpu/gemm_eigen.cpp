// y = op(a)·op(b) [+ y] in f64, by Eigen.
#include <Eigen/Core>

#include "kernels/cpu/gemm.h"

namespace mora::kernels::cpu {

void gemm_eigen(const Gemm& g, const void* a, const void* b, void* y) {
  using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const auto map = [](const void* data, bool transposed, int64_t rows, int64_t columns) {
    return Eigen::Map<const Matrix>(static_cast<const double*>(data), transposed ? columns : rows,
                                    transposed ? rows : columns);
  };
  const auto ma = map(a, g.transpose_a, g.m, g.k);
  const auto mb = map(b, g.transpose_b, g.k, g.n);
  Eigen::Map<Matrix> my(static_cast<double*>(y), g.m, g.n);
  const auto add = [&](const auto& op_a, const auto& op_b) {
    if (g.accumulate)
      my.noalias() += op_a * op_b;
    else
      my.noalias() = op_a * op_b;
  };
  if (g.transpose_a && g.transpose_b)
    add(ma.transpose(), mb.transpose());
  else if (g.transpose_a)
    add(ma.transpose(), mb);
  else if (g.transpose_b)
    add(ma, mb.transpose());
  else
    add(ma, mb);
}

}  // namespace mora::kernels::cpu
