// Attention over packed sequences, and rotary positions.
#pragma once

#include "autograd/indices.h"
#include "autograd/op.h"
#include "kernels/attention.h"

namespace mora {

namespace ops {

// y = softmax(scale·q·kᵀ + mask)·v inside each sequence.  q (N, H, D), k, v (M, G, D) → y (N, H, D); offsets i32 (B+1).
// Dao et al. 2022, "FlashAttention"; the mask and grouped heads are explained in kernels/attention.h.
struct Attention {
  static constexpr std::string_view name = "attention";
  static constexpr bool strided = true;
  static constexpr Saves saves{.inputs = 0b111, .outputs = 0b11};
  static constexpr uint32_t differentiable_outputs = 1;  // the log-sum-exp is a hint
  Indices q_offsets, kv_offsets;
  kernels::AttentionShape shape;

  std::array<Meta, 2> infer(const Meta& q, const Meta& k, const Meta& v) const;
  void forward(const Tensor& q, const Tensor& k, const Tensor& v, Tensor& y, Tensor& lse) const;
  Tensors composite(const Tensor& q, const Tensor& k, const Tensor& v) const;
  Tensors vjp(const Saved& s, const Tensor& gy, Need need) const;
};

struct AttentionBackward {  // y and lse are what the forward left
  static constexpr std::string_view name = "attention_backward";
  static constexpr bool strided = true;
  Attention op;
  Tensor y, lse;

  std::array<Meta, 3> infer(const Meta& q, const Meta& k, const Meta& v, const Meta& gy) const;
  void forward(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& gy, Tensor& gq, Tensor& gk,
               Tensor& gv) const;
  Tensors composite(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& gy) const;
};

// Rotates the halves of each head by the angle of the token's position (Su et al. 2021); `inverse` turns back, and is
// the backward. x (N, H, D), positions i32 (N), cos and sin (P, D/2).
struct Rotary {
  static constexpr std::string_view name = "rotary";
  static constexpr bool strided = true;
  Tensor positions, cos, sin;
  bool inverse = false;

  Meta infer(const Meta& x) const;
  void forward(const Tensor& x, Tensor& y) const;
  Tensor composite(const Tensor& x) const;
  Tensors vjp(const Saved& s, const Tensor& gy, Need need) const;
};

}  // namespace ops

Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const Indices& q_offsets, const Indices& kv_offsets,
                 const kernels::AttentionShape& shape);
Tensor rotary(const Tensor& x, const Tensor& positions, const Tensor& cos, const Tensor& sin);

}  // namespace mora
