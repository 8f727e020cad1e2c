// Attention by cuDNN's graph API, which is loaded when first asked for. Weak: null in a program that was built without
// cuDNN's headers or its frontend's (cmake/Cuda.cmake), and on the tests' emulator.
#pragma once

#include <string>

#include "kernels/cuda/attention.h"

namespace mora::kernels::cuda {

// One attention of cuDNN's, forward or backward, with all of its choices made: for sizes and strides, and for numbers
// of sequences and tokens up to the next powers of two.
class CudnnAttention {
 public:
  // What launch_attention or launch_attention_backward does. Throws DeviceError.
  virtual void run(const AttentionView& view, const AttentionGradientView& tensors) = 0;

  // Than our own, once it is known.
  enum class Speed { unknown, faster, slower };
  Speed speed = Speed::unknown;

 protected:
  ~CudnnAttention() = default;
};

// The plan for an attention on the device; of a forward's tensors there are y and lse alone. It is made when it is
// first asked for, which takes up to seconds, and kept until the process ends: recorded graphs run its kernels. Null,
// with the reason, where there is none: for anything but bf16 or f16, heads of up to 128 in eighths, one set of offsets
// for queries and keys, and no window; on cards other than Hopper's and Blackwell's; without cuDNN 9.11 or later; and
// while a graph is recorded for a shape that has not occurred before.
[[gnu::weak]] CudnnAttention* cudnn_attention(const AttentionView& view, const AttentionGradientView& tensors,
                                              bool backward, int device, std::string& reason);

}  // namespace mora::kernels::cuda
