// What the kernels of single elements share: from a dtype to a type, from a number of elements to threads.
#pragma once

#include "engine/parallel.h"
#include "engine/tensor.h"

namespace mora::kernels::cpu {

// The fewest elements that pay for a thread: a tensor of less than twice as many is done inline.
inline constexpr int64_t element_grain = 16384;

// The same in rows (or columns) of `length` elements each.
inline int64_t row_grain(int64_t length) { return std::max<int64_t>(1, element_grain / std::max<int64_t>(1, length)); }

// f(T{}) for the C++ type T of a floating dtype. Throws DTypeError that names the op for another.
template <class F>
void visit_floating(DType dtype, std::string_view op, F&& f) {
  switch (dtype) {
    case DType::f64: return f(double{});
    case DType::f32: return f(float{});
    case DType::bf16: return f(bf16_t{});
    case DType::f16: return f(f16_t{});
    default: fail<DTypeError>("{}: a tensor of {}, expected floating point", op, name_of(dtype));
  }
}

}  // namespace mora::kernels::cpu
