// What the functions of kernels/cuda/*.cpp share: tensors in, views out. For the host compiler.
#pragma once

#include <string_view>

#include "engine/tensor.h"
#include "kernels/cuda/view.h"

namespace mora::kernels::cuda {

// An undefined tensor's view has no data. With a dtype: throws DTypeError where the tensor has another.
inline View view(const Tensor& x) {
  return x.defined() ? View{const_cast<void*>(x.raw()), x.numel(), x.dtype()} : View{};
}
inline View view(const Tensor& x, DType wanted) {
  if (x.defined() && x.dtype() != wanted)
    fail<DTypeError>("a tensor of {} read as {}", name_of(x.dtype()), name_of(wanted));
  return view(x);
}
// The same for writing: the storage's version moves.
inline View output(Tensor& x) {
  if (x.defined()) x.mutable_raw();
  return view(x);
}
inline View output(Tensor& x, DType wanted) {
  output(x);
  return view(x, wanted);
}

// Throws DTypeError that names the op unless x is floating.
inline void require_floating(std::string_view op, const Tensor& x) {
  require<DTypeError>(is_floating(x.dtype()), "{}: a tensor of {}, expected floating point", op, name_of(x.dtype()));
}

// Throws DeviceError that names the op unless all tensors that are defined are on x's device.
template <class... Tensors>
void require_device_of(const Tensor& x, std::string_view op, const Tensors&... others) {
  for (const Tensor* other : {&static_cast<const Tensor&>(others)...})
    require<DeviceError>(!other->defined() || other->device() == x.device(), "{}: tensors on {} and {}", op,
                         to_string(x.device()), other->defined() ? to_string(other->device()) : "");
}

}  // namespace mora::kernels::cuda
