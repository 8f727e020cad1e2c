#include "mora/models/rotary_table.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numbers>
#include <numeric>

#include "autograd/ops/arithmetic.h"
#include "autograd/ops/elementary.h"
#include "autograd/ops/shape.h"

namespace mora {
namespace {

constexpr double kTurn = 2 * std::numbers::pi;

// θ^(−2j/D)
std::vector<double> powers(double theta, int64_t head_dim) {
  std::vector<double> result;
  for (int64_t j = 0; j < head_dim / 2; ++j) result.push_back(std::pow(theta, -2.0 * double(j) / double(head_dim)));
  return result;
}

// Slow frequencies (few turns within the original context) are divided by the factor, quick ones stay, those between
// are mixed.        Llama 3.1
void scale_llama3(const RopeConfig& c, std::vector<double>& frequencies) {
  for (double& f : frequencies) {
    const double turns = double(c.original_max_position_embeddings) * f / kTurn;
    const double kept = std::clamp((turns - c.low_freq_factor) / (c.high_freq_factor - c.low_freq_factor), 0.0, 1.0);
    f = (1 - kept) * f / c.factor + kept * f;
  }
}

// The same with the mix linear in j.        Peng et al. 2023, "YaRN: Efficient Context Window Extension", §3.2
void scale_yarn(const RopeConfig& c, std::vector<double>& frequencies) {
  const double dims = double(2 * frequencies.size());
  auto dimension_of = [&](double turns) {  // the j that makes so many turns within the original context
    return dims * std::log(double(c.original_max_position_embeddings) / (turns * kTurn)) / (2 * std::log(c.theta));
  };
  double low = dimension_of(c.beta_fast), high = dimension_of(c.beta_slow);
  if (c.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, dims - 1);
  if (low == high) high += 0.001;  // no step of infinite slope
  for (size_t j = 0; j < frequencies.size(); ++j) {
    const double scaled = std::clamp((double(j) - low) / (high - low), 0.0, 1.0);
    frequencies[j] *= scaled / c.factor + (1 - scaled);
  }
}

}  // namespace

std::vector<double> inverse_frequencies(const RopeConfig& c, int64_t head_dim, int64_t length) {
  using Kind = RopeConfig::Kind;
  double theta = c.theta;
  if (c.kind == Kind::dynamic && length > c.original_max_position_embeddings) {  // "NTK-aware" interpolation
    const double stretch = c.factor * double(length) / double(c.original_max_position_embeddings) - (c.factor - 1);
    theta *= std::pow(stretch, double(head_dim) / double(head_dim - 2));
  }
  std::vector<double> frequencies = powers(theta, head_dim);
  if (c.kind == Kind::linear) {
    for (double& f : frequencies) f /= c.factor;
  }
  if (c.kind == Kind::llama3) scale_llama3(c, frequencies);
  if (c.kind == Kind::yarn) scale_yarn(c, frequencies);
  return frequencies;
}

// positions (P); frequencies (1, D/2), or (P, D/2) row by row. The product is rounded as models were trained with it:
// in f32 unless activations are f64.
void RotaryTable::compute(const Tensor& positions, std::span<const double> frequencies, Tensor& cos,
                          Tensor& sin) const {
  const int64_t half = head_dim_ / 2;
  const Tensor theta = Tensor::from(frequencies, {int64_t(frequencies.size()) / half, half});
  const Tensor angle = reshape(cast(positions, dtype_), {positions.dim(0), 1}) * cast(theta, dtype_);  // (P, D/2)
  cos = mora::cos(angle) * config_.attention_factor;
  sin = mora::sin(angle) * config_.attention_factor;
}

void RotaryTable::grow(int64_t positions, Device device) const {
  if (cos_.defined() && cos_.dim(0) >= positions && cos_.device() == device) return;
  std::vector<float> all(std::bit_ceil(uint64_t(positions)));
  std::iota(all.begin(), all.end(), 0.f);
  compute(Tensor::from(all, {int64_t(all.size())}), inverse_frequencies(config_, head_dim_, 0), cos_, sin_);
  cos_ = cos_.to(device);
  sin_ = sin_.to(device);
}

RotaryAngles RotaryTable::angles(const Sequences& s, Device device) const {
  const auto positions = s.positions.values();
  const int64_t length = positions.empty() ? 0 : *std::max_element(positions.begin(), positions.end()) + 1;
  if (config_.kind == RopeConfig::Kind::dynamic && length > config_.original_max_position_embeddings)
    return angles_by_length(s, device);
  grow(length, device);
  return {cos_, sin_, s.positions.tensor()};
}

// A sequence longer than the original context has frequencies of its own: a row a token.
RotaryAngles RotaryTable::angles_by_length(const Sequences& s, Device device) const {
  const auto ends = s.offsets.values(), positions = s.positions.values();
  std::vector<double> frequencies;  // (N, D/2)
  for (size_t b = 0; b + 1 < ends.size(); ++b) {
    if (ends[b] == ends[b + 1]) continue;
    const auto of_sequence = inverse_frequencies(config_, head_dim_, positions[size_t(ends[b + 1] - 1)] + 1);
    for (int32_t n = ends[b]; n < ends[b + 1]; ++n)
      frequencies.insert(frequencies.end(), of_sequence.begin(), of_sequence.end());
  }
  std::vector<int32_t> rows(positions.size());
  std::iota(rows.begin(), rows.end(), 0);
  Tensor cos, sin;
  const Shape shape{s.tokens()};
  compute(Tensor::from(std::vector<float>(positions.begin(), positions.end()), shape), frequencies, cos, sin);
  return {cos.to(device), sin.to(device), Tensor::from(rows, shape).to(device)};
}

}  // namespace mora
