// Element-wise functions of two tensors. a and b may have any strides (0 where broadcast) over y's shape; y is
// contiguous.
#pragma once

#include "kernels/dispatch.h"
#include "kernels/functions.h"

namespace mora::kernels {

MORA_KERNEL(binary, const Tensor& a, const Tensor& b, Tensor& y, Binary f);
// y boolean.
MORA_KERNEL(compare, const Tensor& a, const Tensor& b, Tensor& y, Compare f);
// y_i = condition_i ? a_i : b_i; condition boolean, any strides.
MORA_KERNEL(where, const Tensor& condition, const Tensor& a, const Tensor& b, Tensor& y);
// y += alpha · x; both contiguous, floating, of one shape; x's dtype may differ from y's.
MORA_KERNEL(axpy, const Tensor& x, Tensor& y, double alpha);

}  // namespace mora::kernels
