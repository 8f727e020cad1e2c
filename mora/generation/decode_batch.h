// Sequences that are decoded together, a token each a step. They join and leave between steps, so that a short one does
// not wait for a long one.   Yu et al. 2022, "Orca: A Distributed Serving System for Transformer-Based Generative
// Models"
#pragma once

#include <exception>
#include <limits>
#include <vector>

#include "mora/generation/sampling.h"
#include "mora/models/kv_cache.h"

namespace mora {

struct GenerationOptions {
  int64_t max_tokens = 256;
  std::vector<int32_t> stop_tokens;  // a sequence ends behind any of them
  SamplingOptions sampling;
};

struct DecodeRequest {
  std::vector<int32_t> prompt;
  GenerationOptions options;
  uint64_t draw = 0;   // tells its draws from those of other sequences with the same seed
  size_t adapter = 0;  // of a MultiAdapterModel; 0: none
};

struct DecodedToken {
  enum class End { none, stop, length };
  uint64_t sequence;
  int32_t id;
  End end;                   // why it is the sequence's last
  std::exception_ptr error;  // where no token could be drawn: the sequence has ended, `id` means nothing
};

class DecodeBatch {
 public:
  // Throws ConfigError for a model without lm_head.
  explicit DecodeBatch(const Model& model);

  // Joins at the next step. Gives the sequence's number: 0, 1, … Throws ConfigError for an empty prompt and for options
  // that cannot be meant.
  uint64_t add(DecodeRequest request);
  void remove(uint64_t sequence);
  void clear();
  size_t size() const { return running_.size(); }

  // Hears of each token; false: the sequence ends behind it.
  using TokenCallback = FunctionRef<bool(const DecodedToken& token)>;
  // One token more for each sequence whose prompt has been read. About `prompt_tokens` of the prompts not yet read are
  // read now, so that a long one does not hold up the others. Where it throws (a prompt longer than the model's
  // positions, no memory), the batch is of no more use until it is cleared.
  void step(TokenCallback on_token, int64_t prompt_tokens = std::numeric_limits<int64_t>::max());

 private:
  struct Running {
    uint64_t sequence;
    DecodeRequest request;
    std::vector<int32_t> tokens;  // the prompt's and the new ones
    size_t seen = 0;              // tokens whose keys and values are in the cache
  };

  Tensor next_logits(int64_t prompt_tokens);
  DecodedToken draw(Running& running, Tensor logits) const;
  void keep(const std::vector<size_t>& places);

  const Model& model_;
  KvCache cache_;
  std::vector<Running> running_;  // in the order of the cache: by adapter
  uint64_t next_sequence_ = 0;
};

}  // namespace mora
