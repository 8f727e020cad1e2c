// Initial A and B taken from the frozen weight, which then loses their product: W ← W − s·B·A, so that the first step
// starts at the function of the model.
#pragma once

#include "engine/tensor.h"

namespace mora {

struct LoraFactors {
  Tensor a, b;  // f32 (r, in), (out, r)
};

// s·B·A = the part of W (out, in) along its r largest singular values, B = U√(Σ/s), A = √(Σ/s)Vᵀ.   Meng et al. 2024,
// "PiSSA". By subspace iteration from a random start (Halko, Martinsson & Tropp 2011, "Finding Structure with
// Randomness"), in f64, until the singular values stand still.
LoraFactors pissa_factors(const Tensor& w, int64_t rank, double scaling, uint64_t seed, uint64_t index);

// B = the first r columns of Q, A = the first r rows of R, W = Q·R.   Büyükakyüz 2024, "OLoRA".
LoraFactors olora_factors(const Tensor& w, int64_t rank);

}  // namespace mora
