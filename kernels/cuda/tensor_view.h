// What the functions of kernels/cuda/*.cpp share: tensors in, views out. For the host compiler.
#pragma once

#include <string_view>

#include "engine/tensor.h"
#include "kernels/cuda/view.h"

namespace mora::kernels::cuda {

inline View view(const Tensor& x) { return {const_cast<void*>(x.raw()), x.numel(), x.dtype()}; }
// For writing: the storage's version moves.
inline View output(Tensor& x) { return {x.mutable_raw(), x.numel(), x.dtype()}; }

// Throws DTypeError that names the op unless x is floating.
inline void require_floating(std::string_view op, const Tensor& x) {
  require<DTypeError>(is_floating(x.dtype()), "{}: a tensor of {}, expected floating point", op, name_of(x.dtype()));
}

// Throws DeviceError that names the op unless all tensors are on x's device.
template <class... Tensors>
void require_device_of(const Tensor& x, std::string_view op, const Tensors&... others) {
  for (const Tensor* other : {&static_cast<const Tensor&>(others)...})
    require<DeviceError>(other->device() == x.device(), "{}: tensors on {} and {}", op, to_string(x.device()),
                         to_string(other->device()));
}

}  // namespace mora::kernels::cuda
