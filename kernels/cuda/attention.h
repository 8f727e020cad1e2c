// Launches of the attention kernels (kernels/attention.h).
#pragma once

#include "kernels/cuda/view.h"

namespace mora::kernels::cuda {

inline constexpr int largest_head = 256;

// (tokens, heads, D), D elements side by side.
struct HeadsView {
  void* data = nullptr;
  int64_t size = 0;  // from the first element to behind the last
  int64_t token_stride = 0, head_stride = 0;
};

// All tensors are of one floating dtype, the statistics lse and delta f32 (f64 for f64). D ≤ largest_head; the numbers
// of tokens, times the number of heads, fit 31 bits.
struct AttentionView {
  DType dtype = DType::f32;
  View q_offsets, kv_offsets;
  int sequences = 0, queries = 0, keys = 0, heads = 0, kv_heads = 0, dim = 0;
  double scale = 1;
  bool causal = false;
  int window = 0;
  HeadsView q, k, v;
};

void launch_attention(const AttentionView& view, const HeadsView& y, const View& lse);

struct AttentionGradientView {
  HeadsView y = {}, gy = {};
  View lse = {};
  View delta = {};  // (tokens, heads): scratch, Σ y·gy
  HeadsView gq = {}, gk = {}, gv = {};
};
void launch_attention_backward(const AttentionView& view, const AttentionGradientView& gradient);

// Packed sequences as cuDNN counts them (kernels/cuda/ragged.cu): where each begins in several tensors, in elements,
// and how many tokens it has. Sequences behind the last are empty.
struct RaggedView {
  View offsets;  // i32 (sequences + 1)
  View starts;   // i64 (tensors, room + 1), room ≥ sequences
  View lengths;  // i32 (room)
  static constexpr int tensors = 9;
  int64_t token_strides[tensors] = {};
};
void launch_ragged(const RaggedView& view);

}  // namespace mora::kernels::cuda
