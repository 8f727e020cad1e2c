#include "mora/generation/generate.h"

#include <algorithm>
#include <chrono>
#include <numeric>

#include "autograd/ops/embedding.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/shape.h"
#include "mora/models/kv_cache.h"

namespace mora {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// A sequence that is still growing.
struct Running {
  size_t prompt;                // its index
  std::vector<int32_t> tokens;  // the prompt's and the new ones
  size_t seen = 0;              // tokens whose keys and values are in the cache
};

class Generator {
 public:
  Generator(const Model& model, const std::vector<std::vector<int32_t>>& prompts, const GenerationOptions& options)
      : model_(model), options_(options), cache_(model.config().num_hidden_layers, int64_t(prompts.size())) {
    for (size_t i = 0; i < prompts.size(); ++i) running_.push_back({.prompt = i, .tokens = prompts[i]});
    result_.ids.resize(prompts.size());
  }

  GenerationResult run(TokenCallback on_token) {
    auto start = std::chrono::steady_clock::now();
    for (const Running& r : running_) result_.prefill_tokens += int64_t(r.tokens.size());
    step(on_token);
    result_.prefill_seconds = seconds_since(start);
    start = std::chrono::steady_clock::now();
    while (!running_.empty()) {
      result_.decode_tokens += int64_t(running_.size());
      step(on_token);
    }
    result_.decode_seconds = seconds_since(start);
    return std::move(result_);
  }

 private:
  // One token more for each sequence.
  void step(TokenCallback on_token) {
    const Tensor logits = next_logits();  // (B, V)
    std::vector<size_t> unfinished;
    for (size_t b = 0; b < running_.size(); ++b) {
      Running& r = running_[b];
      std::vector<int32_t>& ids = result_.ids[r.prompt];
      Tensor row = logits.alias({logits.dim(1)}, {1}, logits.offset() + int64_t(b) * logits.dim(1));
      const int32_t id = sample_token(row, r.tokens, options_.sampling, r.prompt, ids.size());
      r.tokens.push_back(id);
      ids.push_back(id);
      on_token(r.prompt, id);
      const bool stopped = std::ranges::find(options_.stop_tokens, id) != options_.stop_tokens.end();
      const bool full =
          int64_t(ids.size()) >= options_.max_tokens || int64_t(r.tokens.size()) > model_.longest_sequence();
      if (!stopped && !full) unfinished.push_back(b);
    }
    if (unfinished.size() == running_.size()) return;
    cache_.keep(unfinished);
    std::vector<Running> rest;
    for (size_t b : unfinished) rest.push_back(std::move(running_[b]));
    running_ = std::move(rest);
  }

  // The logits f32 (B, V) behind the last token of each sequence; the tokens not seen yet go through the model.
  Tensor next_logits() {
    std::vector<int32_t> ids, positions, offsets{0}, last;
    for (Running& r : running_) {
      for (; r.seen < r.tokens.size(); ++r.seen) {
        ids.push_back(r.tokens[r.seen]);
        positions.push_back(int32_t(r.seen));
      }
      offsets.push_back(int32_t(ids.size()));
      last.push_back(int32_t(ids.size()) - 1);
    }
    const Shape rows{int64_t(ids.size())};
    const Sequences sequences{.ids = Tensor::from(ids, rows),
                              .positions = Tensor::from(positions, rows),
                              .offsets = Tensor::from(offsets, {int64_t(offsets.size())}),
                              .cache = &cache_};
    const Tensor hidden = model_.hidden_states(sequences, context_);
    return cast(linear(gather_rows(hidden, Tensor::from(last, {int64_t(last.size())})), model_.lm_head()), DType::f32);
  }

  const Model& model_;
  const GenerationOptions& options_;
  KvCache cache_;
  Context context_;
  std::vector<Running> running_;
  GenerationResult result_;
};

}  // namespace

GenerationResult generate(const Model& model, const std::vector<std::vector<int32_t>>& prompts,
                          const GenerationOptions& options, TokenCallback on_token) {
  options.sampling.check();
  require<ConfigError>(options.max_tokens > 0, "max_tokens: {}, expected at least 1", options.max_tokens);
  require<ConfigError>(model.lm_head() != nullptr, "generate: this {} model has no lm_head: it is no language model",
                       model.config().model_type);
  require<ConfigError>(std::ranges::none_of(prompts, [](const auto& p) { return p.empty(); }),
                       "generate: a prompt without tokens");
  const NoGrad no_grad;
  if (prompts.empty()) return {};
  return Generator(model, prompts, options).run(on_token);
}

}  // namespace mora
