// The experts of a layer under the gates of a router, in two ways with the same result.
//
//   low rank   y = Σ_e g_e·s·B_e·A_e·x     x (N, in), g (N, E), A_e (r, in), B_e (out, r) → (N, out)
//   square     z = Σ_e g_e·M_e·s           s (N, chunks, r̂), g (N, E), M_e (r̂, r̂) → (N, chunks, r̂); C and D of a
//                                          MoRA, around it, are shared
//
// stacked   all experts of every token in one large product, each times its gate, which is 0 for those not chosen.
// grouped   the rows that an expert is chosen for are laid together, multiplied by its own matrices alone, and added
//           where they came from: the work of the chosen experts.
#pragma once

#include "engine/tensor.h"
#include "mora/experts/router.h"

namespace mora {

enum class Dispatch { stacked, grouped };

struct LowRankExperts {
  Tensor a;  // (E·r, in)
  Tensor b;  // (E·r, out): each B_eᵀ
  int64_t count = 1;
  double scaling = 1;
};
Tensor dispatch(Dispatch way, const Tensor& x, const Routes& routes, const LowRankExperts& experts);

struct SquareExperts {
  Tensor m;  // (E·r̂, r̂)
  int64_t count = 1;
};
Tensor dispatch(Dispatch way, const Tensor& s, const Routes& routes, const SquareExperts& experts);

}  // namespace mora
