#include "kernels/binary.h"

#include "kernels/cuda/binary.h"
#include "kernels/cuda/tensor_walk.h"

namespace mora::kernels::cuda {
namespace {

void check_operands(std::string_view op, const Tensor& a, const Tensor& b, const Tensor& y) {
  invariant(a.shape() == y.shape() && b.shape() == y.shape() && y.is_contiguous() && a.dtype() == b.dtype(),
            "{}: {} {} and {} {} into {}", op, a.shape(), name_of(a.dtype()), b.shape(), name_of(b.dtype()), y.shape());
  require_device_of(a, op, b, y);
}

}  // namespace

void binary(const Tensor& a, const Tensor& b, Tensor& y, Binary f) {
  check_operands("binary", a, b, y);
  invariant(a.dtype() == y.dtype(), "binary: {} into {}", name_of(a.dtype()), name_of(y.dtype()));
  const bool whole = a.dtype() == DType::i64 || a.dtype() == DType::i32;
  require<DTypeError>(is_floating(a.dtype()) || (whole && f != Binary::div), "{}: a tensor of {}, expected {}",
                      f == Binary::div ? "div" : "binary", name_of(a.dtype()),
                      f == Binary::div ? "floating point" : "floating point, i64 or i32");
  if (y.numel() == 0) return;
  const StridedWalk<2> walk(y.shape(), {&a.strides(), &b.strides()});
  launch_binary(strided_view(a), strided_view(b), output(y), walk_view(walk), f);
}

void compare(const Tensor& a, const Tensor& b, Tensor& y, Compare f) {
  check_operands("compare", a, b, y);
  invariant(y.dtype() == DType::boolean, "compare: into {}", name_of(y.dtype()));
  if (y.numel() == 0) return;
  const StridedWalk<2> walk(y.shape(), {&a.strides(), &b.strides()});
  launch_compare(strided_view(a), strided_view(b), output(y), walk_view(walk), f);
}

void where(const Tensor& condition, const Tensor& a, const Tensor& b, Tensor& y) {
  check_operands("where", a, b, y);
  require_device_of(a, "where", condition);
  invariant(condition.shape() == y.shape() && condition.dtype() == DType::boolean && a.dtype() == y.dtype(),
            "where: condition {} and {} into {} {}", condition.shape(), name_of(a.dtype()), y.shape(),
            name_of(y.dtype()));
  if (y.numel() == 0) return;
  const StridedWalk<3> walk(y.shape(), {&condition.strides(), &a.strides(), &b.strides()});
  launch_where(strided_view(condition), strided_view(a), strided_view(b), output(y), walk_view(walk));
}

void axpy(const Tensor& x, Tensor& y, double alpha) {
  invariant(x.shape() == y.shape() && x.is_contiguous() && y.is_contiguous(), "axpy: {} into {}", x.shape(), y.shape());
  require_floating("axpy", x);
  require_floating("axpy", y);
  require_device_of(x, "axpy", y);
  launch_axpy(view(x), output(y), alpha);
}

}  // namespace mora::kernels::cuda
