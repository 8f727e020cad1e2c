#include "kernels/checks.h"
#include "kernels/copy.h"
#include "kernels/cuda/copy.h"
#include "kernels/cuda/index_error_words.h"
#include "kernels/cuda/tensor_view.h"

namespace mora::kernels::cuda {
namespace {

void check_rows(std::string_view op, const Tensor& table, const Tensor& ids, const Tensor& rows) {
  check_rows_by_index(op, table, ids, rows);
  require_floating(op, table);
  require_floating(op, rows);
  require_device_of(table, op, ids, rows);
}

}  // namespace

void gather_rows(const Tensor& table, const Tensor& ids, Tensor& y) {
  check_rows("gather_rows", table, ids, y);
  Tensor errors = index_error_words(y.device());
  launch_gather_rows(view(table), view(ids), output(y), y.dim(1), output(errors));
}

void scatter_add_rows(const Tensor& x, const Tensor& ids, Tensor& y) {
  check_rows("scatter_add_rows", y, ids, x);
  Tensor errors = index_error_words(y.device());
  launch_scatter_add_rows(view(x), view(ids), output(y), y.dim(1), output(errors));
}

}  // namespace mora::kernels::cuda
