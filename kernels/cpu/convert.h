// Dense arrays from one dtype to another.
#pragma once

#include "engine/dtype.h"

namespace mora::kernels::cpu {

// to[i] = from[i] for i < n: floats round to nearest even, floats to integers towards zero, anything to boolean is ≠ 0.
// On the calling thread.
void convert(const void* from, DType from_dtype, void* to, DType to_dtype, int64_t n);

}  // namespace mora::kernels::cpu
