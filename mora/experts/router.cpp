#include "mora/experts/router.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "autograd/ops/arithmetic.h"
#include "autograd/ops/elementary.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/reduce.h"
#include "autograd/ops/shape.h"
#include "autograd/ops/softmax.h"

namespace mora {
namespace {

constexpr std::array<std::string_view, 3> rule_names = {"top_k", "top_p", "threshold"};
constexpr double least_excess = 1e-6;  // Σ(p − τ)

// The experts of one token, into `order`; p is its row of probabilities. Gives how many of the first are chosen.
size_t choose(const RoutingSpec& spec, std::span<const double> p, double threshold, std::span<size_t> order) {
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return p[a] > p[b]; });
  if (spec.rule == RoutingSpec::Rule::top_k) return size_t(spec.top_k);
  size_t chosen = 1;  // the likeliest always: rounding may put all of p below τ = 1/E
  if (spec.rule == RoutingSpec::Rule::threshold) {
    while (chosen < order.size() && p[order[chosen]] >= threshold) ++chosen;
    return chosen;
  }
  for (double sum = p[order[0]]; chosen < order.size() && sum <= spec.top_p; ++chosen) sum += p[order[chosen]];
  return chosen;
}

// 1 for what is chosen, (N, E) of p's dtype; counts `slots`.
Tensor choice_mask(const RoutingSpec& spec, const Tensor& p, const Tensor& threshold, std::vector<int64_t>& slots) {
  const NoGrad no_grad;
  const Tensor wide = cast(p.detach(), DType::f64);
  const Tensor limits = threshold.defined() ? cast(contiguous(threshold.detach()), DType::f64) : Tensor();
  const auto experts = size_t(p.dim(1));
  Tensor mask = Tensor::zeros(p.shape(), DType::f64);
  double* row = mask.mutable_data<double>();
  std::vector<size_t> order(experts);
  slots.assign(experts, 0);
  for (int64_t n = 0; n < p.dim(0); ++n, row += experts) {
    const std::span probabilities(wide.data<double>() + size_t(n) * experts, experts);
    const size_t chosen = choose(spec, probabilities, limits.defined() ? limits.data<double>()[n] : 0, order);
    for (size_t i = 0; i < chosen; ++i) {
      row[order[i]] = 1;
      ++slots[order[i]];
    }
  }
  return cast(mask, p.dtype());
}

}  // namespace

std::string_view name_of(RoutingSpec::Rule rule) { return rule_names[size_t(rule)]; }

RoutingSpec::Rule parse_routing(std::string_view word, std::string_view place) {
  const auto found = std::find(rule_names.begin(), rule_names.end(), word);
  require<ConfigError>(found != rule_names.end(), "{}: '{}': expected one of {}", place, word,
                       fmt::join(rule_names, ", "));
  return RoutingSpec::Rule(found - rule_names.begin());
}

Routing route(const RoutingSpec& spec, const Tensor& logits, const Tensor& threshold) {
  using Rule = RoutingSpec::Rule;
  require<ShapeError>(logits.rank() == 2 && logits.dim(1) == spec.count, "route: logits {} for {} experts",
                      logits.shape(), spec.count);
  require<ShapeError>((spec.rule == Rule::threshold) == threshold.defined(), "route: rule {} {} a threshold",
                      name_of(spec.rule), threshold.defined() ? "takes no" : "needs");
  Routing routing;
  const Tensor p = routing.probabilities = softmax(logits);
  const Tensor mask = choice_mask(spec, p, threshold, routing.slots);
  const Tensor weights = (spec.rule == Rule::threshold ? p - threshold : p) * mask;
  if (spec.rule == Rule::top_p) {
    routing.gates = weights;
  } else {
    const Tensor total = sum(weights, {1}, true);  // (N, 1)
    routing.gates = weights / maximum(total, full_like(total, least_excess));
  }
  return routing;
}

Tensor balance_loss(const Routing& routing) {
  const Tensor& p = routing.probabilities;
  const double experts = double(p.dim(1));
  const double total = double(std::accumulate(routing.slots.begin(), routing.slots.end(), int64_t{0}));
  std::vector<double> shares;
  for (int64_t slots : routing.slots) shares.push_back(experts * double(slots) / total);
  const Tensor weights = cast(Tensor::from(shares, {p.dim(1)}), p.dtype());
  return sum(mean(p, {0}) * weights);
}

Tensor z_loss(const Tensor& logits) { return mean(square(logsumexp(logits))); }

Tensor entropy_loss(const Tensor& logits) { return -mean(sum(softmax(logits) * log_softmax(logits), {1})); }

ExpertRouter::ExpertRouter(RoutingSpec spec, int64_t in, Make make)
    : spec_(spec), weight_(make("router.weight", {spec.count, in})) {
  if (spec.rule != RoutingSpec::Rule::threshold) return;
  threshold_weight_ = make("router.threshold_weight", {1, in});
  threshold_bias_ = make("router.threshold_bias", {1});
}

void ExpertRouter::visit_parameters(FunctionRef<void(const std::string& name, Tensor& value)> visit) {
  visit("router.weight", weight_);
  if (!threshold_weight_.defined()) return;
  visit("router.threshold_weight", threshold_weight_);
  visit("router.threshold_bias", threshold_bias_);
}

Tensor ExpertRouter::gates(const Tensor& x, Context& context, uint64_t layer) const {
  const DType wide = x.dtype() == DType::f64 ? DType::f64 : DType::f32;
  const Tensor input = cast(x, wide);
  const Tensor logits = matmul(input, cast(weight_, wide), false, true);  // (N, E)
  Tensor threshold;                                                       // (N, 1)
  if (threshold_weight_.defined()) {
    const Tensor score = matmul(input, cast(threshold_weight_, wide), false, true) + cast(threshold_bias_, wide);
    threshold = sigmoid(score) * spec_.threshold;
  }
  const Routing routing = route(spec_, logits, threshold);
  if (context.training) {
    if (spec_.balance > 0) context.losses.push_back(balance_loss(routing) * spec_.balance);
    if (spec_.z_loss > 0) context.losses.push_back(z_loss(logits) * spec_.z_loss);
    if (spec_.entropy > 0 && spec_.rule == RoutingSpec::Rule::top_p)
      context.losses.push_back(entropy_loss(logits) * spec_.entropy);
  }
  if (context.routed) {
    const NoGrad no_grad;
    (*context.routed)[layer] = {x.dim(0), routing.slots, entropy_loss(logits.detach()).item() * double(x.dim(0))};
  }
  return routing.gates;
}

RoutingSummary summarize(const RoutedLayers& layers) {
  RoutingSummary summary;
  double tokens = 0;
  for (const auto& [layer, routed] : layers) {
    const double slots = double(std::accumulate(routed.slots.begin(), routed.slots.end(), int64_t{0}));
    const double busiest = double(*std::max_element(routed.slots.begin(), routed.slots.end()));
    summary.active_experts += slots;
    summary.load_max = std::max(summary.load_max, busiest * double(routed.slots.size()) / slots);
    summary.entropy += routed.entropy;
    tokens += double(routed.tokens);
  }
  if (tokens == 0) return {};
  summary.active_experts /= tokens;
  summary.entropy /= tokens;
  return summary;
}

void accumulate(RoutedLayers& layers, const RoutedLayers& more) {
  for (const auto& [layer, routed] : more) {
    RoutedTokens& sum = layers[layer];
    sum.tokens += routed.tokens;
    sum.entropy += routed.entropy;
    sum.slots.resize(routed.slots.size());
    for (size_t i = 0; i < routed.slots.size(); ++i) sum.slots[i] += routed.slots[i];
  }
}

}  // namespace mora
