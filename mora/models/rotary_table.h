// Angles of rotary positions (Su et al. 2021, "RoFormer"): position · θ_j, j < D/2, with θ_j = theta^(−2j/D) changed
// for contexts longer than the model was first trained on, as transformers does (modeling_rope_utils.py).
#pragma once

#include <vector>

#include "loaders/hf_config.h"
#include "mora/models/model.h"

namespace mora {

// What `rotary` needs for a batch, on one device: token n turns by row rows[n].
struct RotaryAngles {
  Tensor cos, sin;  // (P, D/2), f32 (f64 for f64 activations)
  Tensor rows;      // i32 (N)
};

// θ (D/2) in a sequence of `length` tokens. The length matters to the kind `dynamic` alone.
std::vector<double> inverse_frequencies(const RopeConfig& config, int64_t head_dim, int64_t length);

// Remembers the angles of the positions it was asked for, on one device. One thread at a time.
class RotaryTable {
 public:
  RotaryTable(const RopeConfig& config, int64_t head_dim, DType activations)
      : config_(config), head_dim_(head_dim), dtype_(compute_dtype(activations)) {}

  RotaryAngles angles(const Sequences& sequences, Device device) const;

 private:
  void compute(const Tensor& positions, std::span<const double> frequencies, Tensor& cos, Tensor& sin) const;
  void grow(int64_t positions, Device device) const;
  RotaryAngles angles_by_length(const Sequences& sequences, Device device) const;

  RopeConfig config_;
  int64_t head_dim_;
  DType dtype_;
  mutable Tensor cos_, sin_;  // of positions 0, 1, …
};

}  // namespace mora
