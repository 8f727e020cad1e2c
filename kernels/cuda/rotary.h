// Launch of the rotation by position (kernels/cuda/rotary.cu).
#pragma once

#include "kernels/cuda/view.h"

namespace mora::kernels::cuda {

struct RotaryView {
  View x, positions, cos, sin, y;         // x.size: from its first element in memory to its last
  int64_t heads, half;                    // half of a head's dimension
  int64_t stride_of_row, stride_of_head;  // of x
  int64_t table_rows;
  bool inverse;
  View errors;  // index_error_words
};
void launch_rotary(const RotaryView& view);

}  // namespace mora::kernels::cuda
