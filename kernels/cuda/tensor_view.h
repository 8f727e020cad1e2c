// What the functions of kernels/cuda/*.cpp share: tensors in, views out. For the host compiler.
#pragma once

#include <string_view>

#include "engine/graph.h"
#include "engine/tensor.h"
#include "kernels/checks.h"
#include "kernels/cuda/view.h"

namespace mora::kernels::cuda {

// The first element of x, for work of the device; a graph that is recorded keeps its memory.
inline void* address(const Tensor& x) {
  Graph::keep(x.storage());
  return const_cast<void*>(x.raw());
}
// An undefined tensor's view has no data. With a dtype: throws DTypeError where the tensor has another.
inline View view(const Tensor& x) { return x.defined() ? View{address(x), x.numel(), x.dtype()} : View{}; }
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

// The elements from x's first to its last in memory.
inline View strided_view(const Tensor& x) {
  int64_t last = 0;
  for (int i = 0; i < x.rank(); ++i) {
    invariant(x.strides()[i] >= 0, "a tensor {} with strides {} on cuda", x.shape(), x.strides());
    last += (x.dim(i) - 1) * x.strides()[i];
  }
  return {address(x), x.numel() == 0 ? 0 : last + 1, x.dtype()};
}
inline View strided_output(Tensor& x) {
  View view = strided_view(x);
  view.data = x.mutable_raw();
  return view;
}

// Throws DTypeError that names the op unless x is floating.
inline void require_floating(std::string_view op, const Tensor& x) {
  require<DTypeError>(is_floating(x.dtype()), "{}: a tensor of {}, expected floating point", op, name_of(x.dtype()));
}

// Throws DeviceError that names the op unless all tensors that are defined are on x's device.
template <class... Tensors>
void require_device_of(const Tensor& x, std::string_view op, const Tensors&... others) {
  for (const Tensor* other : {&static_cast<const Tensor&>(others)...})
    if (other->defined()) check_device(op, x.device(), *other);
}

}  // namespace mora::kernels::cuda
