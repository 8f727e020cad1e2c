// The memory of kernels/cuda/index_errors.h, for those that launch such kernels.
#pragma once

#include "engine/tensor.h"

namespace mora::kernels::cuda {

// Where kernels of the device remember indices out of range, until it is waited for (mora::cuda::check_indices). To be
// kept until they are launched.
Tensor index_error_words(Device device);

}  // namespace mora::kernels::cuda
