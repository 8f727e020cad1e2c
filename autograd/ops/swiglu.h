// y = silu(gate)·up            Shazeer 2020, "GLU Variants Improve Transformer"
#pragma once

#include "autograd/op.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/elementary.h"
#include "kernels/unary.h"

namespace mora {

namespace ops {

struct SwigluBackward;

struct Swiglu {  // gate, up (N, d) → (N, d)
  static constexpr std::string_view name = "swiglu";
  static constexpr Saves saves{.inputs = 0b11};
  static constexpr bool recomputed = true;
  Meta infer(const Meta& gate, const Meta& up) const {
    require<ShapeError>(gate == up && is_floating(gate.dtype), "swiglu: gate {} {} against up {} {}",
                        name_of(gate.dtype), gate.shape, name_of(up.dtype), up.shape);
    return gate;
  }
  void forward(const Tensor& gate, const Tensor& up, Tensor& y) const { kernels::swiglu(gate, up, y); }
  Tensor composite(const Tensor& gate, const Tensor& up) const { return gate * mora::sigmoid(gate) * up; }
  Tensors vjp(const Saved& s, const Tensor& gy, Need need) const;
};

struct SwigluBackward {
  static constexpr std::string_view name = "swiglu_backward";
  std::array<Meta, 2> infer(const Meta& gate, const Meta& up, const Meta& gy) const {
    require<ShapeError>(gate == up && gate == gy, "swiglu_backward: gate {}, up {}, gy {}", gate.shape, up.shape,
                        gy.shape);
    return {gate, up};
  }
  void forward(const Tensor& gate, const Tensor& up, const Tensor& gy, Tensor& ggate, Tensor& gup) const {
    kernels::swiglu_backward(gate, up, gy, ggate, gup);
  }
  Tensors composite(const Tensor& gate, const Tensor& up, const Tensor& gy) const {
    return composite_backward(Swiglu{}, gy, Need{0b11}, gate, up);
  }
};

inline Tensors Swiglu::vjp(const Saved& s, const Tensor& gy, Need) const {
  const auto g = apply(SwigluBackward{}, s.input(0), s.input(1), gy);
  return {g[0], g[1]};
}

}  // namespace ops

inline Tensor swiglu(const Tensor& gate, const Tensor& up) { return apply(ops::Swiglu{}, gate, up); }

}  // namespace mora
