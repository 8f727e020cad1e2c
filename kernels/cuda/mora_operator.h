// Launches of the kernels of MoRA's operators (kernels/mora_operator.h): linear maps without parameters.
#pragma once

#include "kernels/cuda/view.h"

namespace mora::kernels::cuda {

// One side of an operator: C between x (wide = k) and s, or D between z and y (wide = d). The narrow side has `slots`
// rows of r̂ a token.
struct OperatorSide {
  enum Form {
    repeated,  // position p < reach of the wide row, repeated, goes with position p mod slots·r̂ of the narrow one
    grouped,   // r̂ contiguous groups, the first (wide mod r̂) of them longer by one
    rotated,   // as repeated, chunk c = p / r̂ turned by its angles and in row c mod slots
  };
  Form form = repeated;
  uint32_t wide = 0, rank = 0, slots = 1, reach = 0;
  View cos = {}, sin = {};  // (chunks, r̂/2) f32 (f64 for f64), of a rotation

  uint32_t narrow() const { return slots * rank; }
};

// cos and sin of c·10000^(−2j/r̂), rows c of r̂/2 each.
void launch_operator_angles(View cos, View sin, uint32_t rank);
// narrow (tokens, slots·r̂) = sums over wide (tokens, wide): C, and Dᵀ.
void launch_operator_gather(const OperatorSide& side, int64_t tokens, View wide, View narrow);
// wide = what each of its elements gets of narrow, added to it where asked: Cᵀ, and D.
void launch_operator_scatter(const OperatorSide& side, int64_t tokens, View narrow, View wide, bool accumulate);

}  // namespace mora::kernels::cuda
