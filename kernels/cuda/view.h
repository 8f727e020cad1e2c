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

// f(T{}) for the C++ type T of any dtype.
template <class F>
void visit(DType dtype, F&& f) {
  switch (dtype) {
    case DType::i64: return f(int64_t{});
    case DType::i32: return f(int32_t{});
    case DType::u8: return f(uint8_t{});
    case DType::boolean: return f(bool{});
    default: return visit_floating(dtype, f);
  }
}

}  // namespace mora::kernels::cuda
