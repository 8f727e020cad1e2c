#include "mora/generation/sampling.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "engine/random.h"
#include "kernels/reduce.h"
#include "kernels/softmax.h"

namespace mora {
namespace {

void penalize(std::span<float> logits, std::span<const int32_t> before, double penalty) {
  std::vector<int32_t> seen(before.begin(), before.end());
  std::sort(seen.begin(), seen.end());
  seen.erase(std::unique(seen.begin(), seen.end()), seen.end());
  for (int32_t id : seen) {
    float& logit = logits[size_t(id)];
    logit = float(logit > 0 ? logit / penalty : logit * penalty);
  }
}

// The tokens a draw is among, likeliest first; all of them in their own order, since ordering a vocabulary takes longer
// than a step of a small model.
std::vector<int32_t> candidates(std::span<const float> p, const SamplingOptions& options) {
  auto likelier = [p](int32_t a, int32_t b) {
    const float pa = p[size_t(a)], pb = p[size_t(b)];
    return pa > pb || (pa == pb && a < b);
  };
  auto less_likely = [&](int32_t a, int32_t b) { return likelier(b, a); };
  std::vector<int32_t> ids(p.size());
  std::iota(ids.begin(), ids.end(), 0);
  const bool all_of_them = options.top_k == 0 || options.top_k >= int64_t(ids.size());
  if (all_of_them && options.top_p == 1) return ids;
  if (!all_of_them) {
    std::nth_element(ids.begin(), ids.begin() + options.top_k, ids.end(), likelier);
    ids.resize(size_t(options.top_k));
  }
  double all = 0, taken = 0;
  for (int32_t id : ids) all += double(p[size_t(id)]);
  std::make_heap(ids.begin(), ids.end(), less_likely);
  auto rest = ids.end();  // the likeliest are moved behind it, one after the other
  while (rest != ids.begin() && (taken < options.top_p * all || rest == ids.end())) {
    std::pop_heap(ids.begin(), rest, less_likely);
    taken += double(p[size_t(*--rest)]);
  }
  return std::vector<int32_t>(ids.rbegin(), ids.rbegin() + (ids.end() - rest));
}

// The token in whose part of the candidates' probability the uniform number falls.
int32_t draw(std::span<const float> p, std::span<const int32_t> among, double uniform) {
  double total = 0, below = 0;
  for (int32_t id : among) total += double(p[size_t(id)]);
  for (int32_t id : among) {
    below += double(p[size_t(id)]);
    if (uniform * total < below) return id;
  }
  return among.front();  // not reached but by rounding
}

}  // namespace

void SamplingOptions::check() const {
  require<ConfigError>(std::isfinite(temperature) && temperature >= 0, "temperature: {}, expected 0 or more",
                       temperature);
  require<ConfigError>(top_k >= 0, "top_k: {}, expected 0 (all) or more", top_k);
  require<ConfigError>(top_p > 0 && top_p <= 1, "top_p: {}, expected above 0 and at most 1", top_p);
  require<ConfigError>(std::isfinite(repetition_penalty) && repetition_penalty > 0,
                       "repetition_penalty: {}, expected above 0 (1: none)", repetition_penalty);
}

int32_t sample_token(Tensor& logits, std::span<const int32_t> before, const SamplingOptions& options, uint64_t sequence,
                     uint64_t step) {
  const std::span<float> values(logits.mutable_data<float>(), size_t(logits.numel()));
  if (options.repetition_penalty != 1) penalize(values, before, options.repetition_penalty);
  const Tensor row = logits.alias({1, logits.numel()}, {logits.numel(), 1}, logits.offset());
  Tensor likeliest = Tensor::empty({1}, DType::i32);
  kernels::argmax(row, likeliest);  // the place of a NaN where there is one
  const int32_t id = likeliest.values<int32_t>()[0];
  const float largest = values[size_t(id)];
  require<ConfigError>(std::isfinite(largest),
                       "generate: the model's logits are not finite; its weights or its adapter's are broken");
  if (options.temperature == 0) return id;

  // The largest is first taken away, so that a small temperature does not overflow.
  for (float& x : values) x = float((x - largest) / options.temperature);
  Tensor p = Tensor::empty(row.meta());
  kernels::softmax(row, p);
  const RandomStream stream(
      {.seed = options.seed, .epoch = 0, .step = step, .layer = sequence, .purpose = Purpose::sampling});
  const auto probabilities = p.values<float>();
  return draw(probabilities, candidates(probabilities, options), double(stream.uniform(0)));
}

}  // namespace mora
