// A token through the blocks of a pre-norm decoder with rotary positions, grouped-query attention and SwiGLU: what
// generation does for each token.
#pragma once

#include <span>

#include "kernels/matmul.h"

namespace mora::kernels {

// h = h + W_o·attention(turned q, turned keys, values)     q, k, v = W·norm(h) + b, q and k normed by head where asked
// h = h + W_down·(silu(gate)·up)                           gate, up = W·norm(h) + b
// By its memory: a token passes through so many blocks that handles of tensors, which are not in any cache by the next
// token, would take a good part of its time.
struct DecodeBlock {
  const float *input_norm, *attention_norm;  // weights of RMS norms (d)
  const float *query_norm, *key_norm;        // (D), or null
  const FrozenWeight *query, *key, *value, *attention_output, *gate, *up, *down;
  void *keys, *values;  // (G, capacity, D) of x's dtype: of the tokens before this one; this one's are written
  int64_t capacity;
  int64_t window;  // how many positions the token sees, itself included; 0: all
};

// What the blocks have in common.
struct DecodeShape {
  int64_t heads, kv_heads, dim;  // H, G, D
  int64_t tokens;                // of the sequence, this one included
  const float *cos, *sin;        // (D/2), of this one's position
  float eps;                     // of all norms
};

// y = x through all blocks, in one region of threads.  x, y (1, d), f32 or bf16, on the processor. What the kernels of
// the single steps compute, rounded where they round: the same bits, for any number of threads.
void decode(const Tensor& x, std::span<const DecodeBlock> blocks, const DecodeShape& shape, Tensor& y);

}  // namespace mora::kernels
