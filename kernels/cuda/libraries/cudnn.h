// cuDNN, opened when it is first needed: the functions that its frontend calls are defined in cudnn.cpp, and pass on to
// it.
#pragma once

#include <cudnn.h>

#include <string>

namespace mora::kernels::cuda {

// Why there is no cuDNN that will do, in one line; "" where there is.
const std::string& cudnn_missing();

}  // namespace mora::kernels::cuda
