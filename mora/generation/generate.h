// Text out of a language model, token by token.
#pragma once

#include <vector>

#include "mora/generation/decode_batch.h"

namespace mora {

struct GenerationResult {
  std::vector<std::vector<int32_t>> ids;  // of each prompt, without the prompt; a stop token is the last
  int64_t prefill_tokens = 0;             // of all prompts, read in one pass that also gives the first tokens
  int64_t decode_tokens = 0;              // all others
  double prefill_seconds = 0, decode_seconds = 0;
};

// Hears of each token as soon as it is there.
using TokenCallback = FunctionRef<void(size_t prompt, int32_t id)>;

// Continues each prompt until a stop token, `max_tokens` or the end of the model's positions. A prompt's tokens do not
// depend on the other prompts but for the rounding of sums. Throws ConfigError for options that cannot be meant, for an
// empty prompt and for a model without lm_head; ShapeError for a prompt longer than the model's positions.
GenerationResult generate(const Model& model, const std::vector<std::vector<int32_t>>& prompts,
                          const GenerationOptions& options, TokenCallback on_token);

}  // namespace mora
