// The part of `binary` that is not floating point.
#pragma once

#include "kernels/binary.h"
#include "kernels/strided.h"

namespace mora::kernels::cpu {

// y = f(a, b) for i64 and i32, with sums and products that wrap. Throws DTypeError for other dtypes and for div.
void binary_integer(const StridedWalk<2>& walk, const Tensor& a, const Tensor& b, void* y, Binary f);

}  // namespace mora::kernels::cpu
