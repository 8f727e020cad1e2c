// The next token from the logits of the last one.
#pragma once

#include "engine/tensor.h"

namespace mora {

// What changes the distribution, in this order (as transformers' logits processors do), before a token is drawn.
struct SamplingOptions {
  double repetition_penalty = 1;  // a token seen before: its logit divided by this where positive, else multiplied
                                  // (Keskar et al. 2019, "CTRL")
  double temperature = 0;         // logits are divided by it; 0: always the likeliest token
  int64_t top_k = 0;              // draws among the k likeliest; 0: all
  double top_p = 1;               // draws among the fewest tokens that have this share of the probability
                                  // (Holtzman et al. 2020, "The Curious Case of Neural Text Degeneration")
  uint64_t seed = 0;

  // Throws ConfigError that names the option.
  void check() const;
};

// A token for logits f32 (V), which are overwritten; `before` are the sequence's tokens so far, prompt included. The
// draw is a function of (seed, sequence, step) and the distribution. Throws ConfigError when no logit is finite or one
// is NaN.
int32_t sample_token(Tensor& logits, std::span<const int32_t> before, const SamplingOptions& options, uint64_t sequence,
                     uint64_t step);

}  // namespace mora
