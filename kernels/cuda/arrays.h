// Tensors' views as the arrays of kernels.
#pragma once

#include "kernels/cuda/simt.h"
#include "kernels/cuda/view.h"

namespace mora::kernels::cuda {

using simt::Array;
using simt::narrow;
using simt::Pack;
using simt::pack_width;
using simt::widen;

// The elements of a view of T.
template <class T>
Array<T> elements(const View& view) {
  return {static_cast<T*>(view.data), view.size};
}

// The view starts where 16 bytes can be moved at once. (One that begins in the middle of a tensor may not.)
inline bool moves_in_packs(const View& view) { return reinterpret_cast<uintptr_t>(view.data) % 16 == 0; }

}  // namespace mora::kernels::cuda
