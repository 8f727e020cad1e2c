// How tensors reach the kernels: as plain views, made by the functions that check them (kernels/cuda/*.cpp) and read by
// those that launch (kernels/cuda/*.cu). nvcc sees no Tensor.
#pragma once

#include "engine/dtype.h"

namespace mora::kernels::cuda {

// The elements of a contiguous tensor.
struct View {
  void* data = nullptr;
  int64_t size = 0;
  DType dtype = DType::f32;
};

// f(T{}) for the C++ type T of a floating dtype.
template <class F>
void visit_floating(DType dtype, F&& f) {
  switch (dtype) {
    case DType::f64: return f(double{});
    case DType::bf16: return f(bf16_t{});
    case DType::f16: return f(f16_t{});
    default: return f(float{});
  }
}

}  // namespace mora::kernels::cuda
