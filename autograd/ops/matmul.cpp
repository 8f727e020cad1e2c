#include "autograd/ops/matmul.h"

#include "autograd/ops/shape.h"

namespace mora {

namespace ops {

Tensors FrozenLinear::vjp(const Saved&, const Tensor& gy, Need) const { return {apply(FrozenLinearAdjoint{w}, gy)}; }
Tensor FrozenLinearAdjoint::matched(const Tensor& weight, const Tensor& like) {
  return cast(weight.to(like.device()), like.dtype());
}

}  // namespace ops

Tensor matmul(const Tensor& a, const Tensor& b, bool transpose_a, bool transpose_b) {
  return apply(ops::Matmul{transpose_a, transpose_b}, a, b);
}

Tensor linear(const Tensor& x, const std::shared_ptr<const kernels::FrozenWeight>& w) {
  return apply(ops::FrozenLinear{w}, x);
}

}  // namespace mora
