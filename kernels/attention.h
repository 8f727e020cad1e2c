// Attention over packed sequences, never materialising T×T (Rabe & Staats 2021; Dao et al. 2022, "FlashAttention").
#pragma once

#include "kernels/dispatch.h"

namespace mora::kernels {

struct AttentionShape {
  double scale = 1;     // of q·kᵀ, usually 1/√D
  bool causal = false;  // query i of a sequence sees keys up to i + (keys − queries)
  int64_t window = 0;   // with causal: only the last `window` of those keys; 0 = all
};

// For each sequence b, with queries q_offsets[b] … q_offsets[b+1] and keys kv_offsets[b] … kv_offsets[b+1]:
//   y = softmax(scale·q·kᵀ + mask)·v,   lse = logsumexp of the masked scores; a query that sees no key gets y = 0, lse
//   = −inf.
// q (N, H, D); k, v (M, G, D) with H a multiple of G (grouped-query: head h reads h / (H/G)); the last dimension has
// stride 1, the others are free (views of a fused projection). y (N, H, D) contiguous. lse (N, H) f32 (f64 for f64).
// offsets i32 (B+1).
MORA_KERNEL(attention, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& q_offsets,
            const Tensor& kv_offsets, Tensor& y, Tensor& lse, const AttentionShape& shape);
// gq, gk, gv: contiguous or views with stride 1 in the last dimension (the thirds of one fused gradient). y, gy
// contiguous.
MORA_KERNEL(attention_backward, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& q_offsets,
            const Tensor& kv_offsets, const Tensor& y, const Tensor& lse, const Tensor& gy, Tensor& gq, Tensor& gk,
            Tensor& gv, const AttentionShape& shape);

// Rotary position embedding in the half-split layout (Su et al. 2021, "RoFormer"): pairs (j, j + D/2), j < D/2:
//   y_j = x_j·c − x_{j+D/2}·s,   y_{j+D/2} = x_{j+D/2}·c + x_j·s,   c, s = cos, sin [positions[n], j]; `inverse`
//   negates s (the backward).
// x (N, H, D) with free strides but the last, y contiguous, positions i32 (N), cos and sin f32 (f64 for f64) (P, D/2).
// Throws ShapeError for a position ≥ P or < 0 (from CUDA, when the device is next waited for; y is 0 there).
MORA_KERNEL(rotary, const Tensor& x, const Tensor& positions, const Tensor& cos, const Tensor& sin, Tensor& y,
            bool inverse);

}  // namespace mora::kernels
