// Dropout from a counter-based stream: the same key gives the same mask, in the backward, on recomputation and in SAM's
// second pass.
#pragma once

#include "autograd/op.h"
#include "engine/random.h"
#include "kernels/unary.h"

namespace mora {

namespace ops {

struct Dropout {  // y = x·mask/(1 − p).   Srivastava et al. 2014
  static constexpr std::string_view name = "dropout";
  double p = 0;
  RandomKey key;
  Tensor clock;  // i64 (2): the epoch and the step in place of the key's; or undefined

  Meta infer(const Meta& x) const {
    require<DTypeError>(is_floating(x.dtype), "dropout: expected a floating dtype, not {}", name_of(x.dtype));
    require<ShapeError>(p >= 0 && p < 1, "dropout: the probability {} is not in [0, 1)", p);
    return x;
  }
  void forward(const Tensor& x, Tensor& y) const { kernels::dropout(x, y, p, key, clock); }
  Tensors vjp(const Saved&, const Tensor& gy, Need) const { return {apply(*this, gy)}; }
};

}  // namespace ops

inline Tensor dropout(const Tensor& x, double p, const RandomKey& key, const Tensor& clock = {}) {
  return p == 0 ? x : apply(ops::Dropout{p, key, clock}, x);
}

}  // namespace mora
