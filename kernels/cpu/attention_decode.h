// Attention of one query a sequence over keys and values as they lie in a cache: what decoding does for each token.
#pragma once

#include "kernels/cpu/attention_plan.h"

namespace mora::kernels::cpu {

// Whether no sequence has more than one query. Nothing is worth packing then: each key is read once a head.
bool is_decode(const AttentionPlan& plan);
// For q, k, v, y of f32, bf16 or f16; see kernels/attention.h.
void attention_decode(const AttentionPlan& plan, const Tensor& q, const Tensor& k, const Tensor& v, Tensor& y,
                      Tensor& lse);

}  // namespace mora::kernels::cpu
