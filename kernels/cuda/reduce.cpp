#include "kernels/reduce.h"

#include "engine/cuda.h"
#include "kernels/copy.h"
#include "kernels/cuda/reduce.h"
#include "kernels/cuda/tensor_view.h"
#include "kernels/dimension_groups.h"

namespace mora::kernels::cuda {
namespace {

constexpr int64_t chunk_length = 16384;  // elements of a row
constexpr int64_t chunk_rows = 256;

// One pass of x, (outer, reduced, inner): (outer, chunks, inner) of the dtype it is computed in.
Tensor reduce_chunks(const Tensor& x, int64_t outer, int64_t reduced, int64_t inner, Reduce f) {
  const ReduceShape shape{outer, reduced, inner, inner == 1 ? chunk_length : chunk_rows};
  const DType compute = compute_dtype(x.dtype());
  Tensor y = Tensor::empty({outer, shape.chunks(), inner}, compute, x.device());
  launch_reduce(view(x), output(y), shape, f);
  return y;
}

void check_segments_here(std::string_view op, const Tensor& rows, const Tensor& offsets, const Tensor& segments) {
  check_segments(op, rows, offsets, segments);
  require_floating(op, rows);
  require_device_of(rows, op, offsets, segments);
}

}  // namespace

void reduce(const Tensor& x, Tensor& y, uint32_t dims, Reduce f) {
  check_reduce(x, y, dims);
  require_floating("reduce", x);
  require_device_of(x, "reduce", y);
  if (y.numel() == 0) return;
  if (x.numel() == 0) {
    require<ShapeError>(f == Reduce::sum, "max: no elements to take the maximum of in {}", x.shape());
    return mora::cuda::zero(output(y).data, y.bytes(), y.device().index);
  }
  // The innermost reduced group first: (outer, reduced, inner), all groups after it kept.
  std::vector<DimensionGroup> groups = group_dimensions(x.shape(), dims);
  Tensor partial = x;
  for (int64_t inner = 1; !groups.empty(); groups.pop_back()) {
    if (!groups.back().reduced) inner *= groups.back().size;
    for (int64_t left = groups.back().reduced ? groups.back().size : 1; left > 1; left = partial.dim(1))
      partial = reduce_chunks(partial, partial.numel() / (left * inner), left, inner, f);
  }
  copy(partial.alias(y.shape(), y.strides(), partial.offset()), y);
}

void argmax(const Tensor& x, Tensor& y) {
  invariant(x.rank() == 2 && x.is_contiguous() && x.dim(1) > 0 && y.numel() == x.dim(0) && y.is_contiguous() &&
                y.dtype() == DType::i32,
            "argmax: {} into {}", x.shape(), y.shape());
  require_floating("argmax", x);
  require_device_of(x, "argmax", y);
  launch_argmax(view(x), output(y), x.dim(1));
}

void sum_of_squares(const Tensor& x, Tensor& out) {
  invariant(x.is_contiguous() && out.numel() == 1 && out.dtype() == DType::f64, "sum_of_squares: {} into {}", x.shape(),
            out.shape());
  require_floating("sum_of_squares", x);
  require_device_of(x, "sum_of_squares", out);
  if (x.numel() == 0) return mora::cuda::zero(output(out).data, out.bytes(), out.device().index);
  Tensor partial = Tensor::empty({(x.numel() + chunk_length - 1) / chunk_length}, DType::f64, x.device());
  launch_sum_of_squares(view(x), output(partial), chunk_length);
  reduce(partial, out, 1, Reduce::sum);
}

void segment_mean(const Tensor& x, const Tensor& offsets, Tensor& y) {
  check_segments_here("segment_mean", x, offsets, y);
  if (y.numel() > 0) launch_segment_mean(view(x), view(offsets, DType::i32), output(y), y.dim(1));
}

void segment_mean_backward(const Tensor& gy, const Tensor& offsets, Tensor& gx) {
  check_segments_here("segment_mean_backward", gx, offsets, gy);
  if (gx.numel() > 0) launch_segment_mean_backward(view(gy), view(offsets, DType::i32), output(gx), gx.dim(1));
}

}  // namespace mora::kernels::cuda
