#include "mora/generation/decode_batch.h"

#include <algorithm>

#include "autograd/ops/embedding.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/shape.h"

namespace mora {

DecodeBatch::DecodeBatch(const Model& model) : model_(model), cache_(model.config().num_hidden_layers, 0) {
  require<ConfigError>(model.lm_head() != nullptr, "generate: this {} model has no lm_head: it is no language model",
                       model.config().model_type);
}

uint64_t DecodeBatch::add(DecodeRequest request) {
  request.options.sampling.check();
  require<ConfigError>(request.options.max_tokens > 0, "max_tokens: {}, expected at least 1",
                       request.options.max_tokens);
  require<ConfigError>(!request.prompt.empty(), "generate: a prompt without tokens");
  // Sequences of one adapter lie together, so that each adapter's rows are one range.
  const auto place =
      std::ranges::upper_bound(running_, request.adapter, {}, [](const Running& r) { return r.request.adapter; });
  const int64_t made = std::min(request.options.max_tokens, model_.longest_sequence());
  cache_.insert(size_t(place - running_.begin()), std::ssize(request.prompt) + made);
  Running running{.sequence = next_sequence_, .request = std::move(request), .tokens = {}};
  running.tokens = running.request.prompt;
  running_.insert(place, std::move(running));
  return next_sequence_++;
}

void DecodeBatch::remove(uint64_t sequence) {
  std::vector<size_t> others;
  for (size_t b = 0; b < running_.size(); ++b)
    if (running_[b].sequence != sequence) others.push_back(b);
  keep(others);
}

void DecodeBatch::clear() { keep({}); }

void DecodeBatch::keep(const std::vector<size_t>& places) {
  if (places.size() == running_.size()) return;
  cache_.keep(places);
  std::vector<Running> kept;
  for (size_t b : places) kept.push_back(std::move(running_[b]));
  running_ = std::move(kept);
}

void DecodeBatch::step(TokenCallback on_token, int64_t prompt_tokens) {
  if (running_.empty()) return;
  const NoGrad no_grad;
  const Tensor logits = next_logits(prompt_tokens);
  std::vector<size_t> unfinished;
  int64_t row = 0;
  for (size_t b = 0; b < running_.size(); ++b) {
    bool goes_on = true;
    if (running_[b].seen == running_[b].tokens.size()) {
      const DecodedToken token =
          draw(running_[b], logits.alias({logits.dim(1)}, {1}, logits.offset() + row++ * logits.dim(1)));
      goes_on = on_token(token) && token.end == DecodedToken::End::none && !token.error;
    }
    if (goes_on) unfinished.push_back(b);
  }
  keep(unfinished);
}

// The sequence's next token, from logits f32 (V).
DecodedToken DecodeBatch::draw(Running& running, Tensor logits) const {
  const GenerationOptions& options = running.request.options;
  const size_t made = running.tokens.size() - running.request.prompt.size();
  DecodedToken token{.sequence = running.sequence, .id = 0, .end = DecodedToken::End::none, .error = nullptr};
  try {
    token.id = sample_token(logits, running.tokens, options.sampling, running.request.draw, made);
  } catch (const ConfigError&) {
    token.error = std::current_exception();
    return token;
  }
  running.tokens.push_back(token.id);
  if (std::ranges::find(options.stop_tokens, token.id) != options.stop_tokens.end())
    token.end = DecodedToken::End::stop;
  else if (int64_t(made) + 1 >= options.max_tokens || int64_t(running.tokens.size()) > model_.longest_sequence())
    token.end = DecodedToken::End::length;
  return token;
}

// Tokens not seen yet go through the model. The logits f32 (S, V) behind the last token of each of the S sequences that
// it has now seen whole, in their order.
Tensor DecodeBatch::next_logits(int64_t prompt_tokens) {
  std::vector<int32_t> ids, positions, offsets{0}, last;
  Context context;
  for (Running& r : running_) {
    const int64_t begin = int64_t(ids.size());
    // At least one token of each: the cache takes rows of all its sequences.
    const int64_t unseen = int64_t(r.tokens.size() - r.seen), count = std::clamp<int64_t>(prompt_tokens, 1, unseen);
    if (unseen > 1) prompt_tokens -= count;
    for (const size_t end = r.seen + size_t(count); r.seen < end; ++r.seen) {
      ids.push_back(r.tokens[r.seen]);
      positions.push_back(int32_t(r.seen));
    }
    offsets.push_back(int32_t(ids.size()));
    if (r.seen == r.tokens.size()) last.push_back(int32_t(ids.size()) - 1);
    if (context.adapter_rows.empty() || context.adapter_rows.back().adapter != r.request.adapter)
      context.adapter_rows.push_back({.adapter = r.request.adapter, .begin = begin});
    context.adapter_rows.back().end = int64_t(ids.size());
  }
  const Shape rows{int64_t(ids.size())};
  const Sequences sequences{.ids = Tensor::from(ids, rows),
                            .positions = Tensor::from(positions, rows),
                            .offsets = Tensor::from(offsets, {int64_t(offsets.size())}),
                            .cache = &cache_};
  const Tensor hidden = model_.hidden_states(sequences, context);
  if (last.empty()) return {};
  const Tensor ends = gather_rows(hidden, Tensor::from(last, {int64_t(last.size())}).to(hidden.device()));
  return cast(linear(ends, model_.lm_head()), DType::f32).to(cpu);
}

}  // namespace mora
