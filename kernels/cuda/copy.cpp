#include "kernels/copy.h"

#include "engine/cuda.h"
#include "kernels/cpu/convert.h"
#include "kernels/cuda/copy.h"
#include "kernels/cuda/tensor_walk.h"

namespace mora::kernels::cuda {
namespace {

// Matrices of a dense y whose columns lie side by side in x: (count ×) rows × columns, or none (count 0).
Transposed as_transposed(const StridedWalk<2>& walk) {
  const auto last = size_t(walk.rank - 1), row = last - 1;
  if (walk.rank < 2 || walk.rank > 3 || walk.strides[0][row] != 1 || walk.strides[1][last] != 1 ||
      walk.strides[1][row] != walk.shape[last] || walk.strides[0][last] <= 1)
    return {};
  const bool several = walk.rank == 3;
  return {several ? walk.shape[0] : 1,
          walk.shape[row],
          walk.shape[last],
          walk.strides[0][last],
          several ? walk.strides[0][0] : 0,
          several ? walk.strides[1][0] : 0};
}

}  // namespace

void copy(const Tensor& x, Tensor& y) {
  invariant(x.shape() == y.shape(), "copy: {} into {}", x.shape(), y.shape());
  require_device_of(x, "copy", y);
  if (y.numel() == 0) return;
  if (x.dtype() == y.dtype() && x.is_contiguous() && y.is_contiguous())
    return mora::cuda::copy(output(y).data, y.device(), address(x), x.device(), y.bytes());
  const StridedWalk<2> walk = walk_by_output(x.shape(), x.strides(), y.strides());
  if (x.dtype() != y.dtype()) return launch_convert(strided_view(x), strided_output(y), walk_view(walk));
  const Transposed transposed = as_transposed(walk);
  if (transposed.count > 0) return launch_transpose(strided_view(x), strided_output(y), transposed);
  launch_copy(strided_view(x), strided_output(y), walk_view(walk));
}

void fill(Tensor& y, double value) {
  invariant(y.is_contiguous(), "fill: y {} is not contiguous", y.shape());
  uint64_t bits = 0;
  cpu::convert(&value, DType::f64, &bits, y.dtype(), 1);
  launch_fill(output(y), bits);
}

}  // namespace mora::kernels::cuda
