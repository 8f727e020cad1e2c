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
#include "kernels/routing.h"

namespace mora {
namespace {

using Rule = RoutingSpec::Rule;
constexpr std::array<std::string_view, 5> rule_names = {"top_k", "top_p", "threshold", "dynmoe", "switch"};
constexpr double dynmoe_scale = 2;  // of the cosines, which alone would keep σ between 0.27 and 0.73
constexpr double least_norm = 1e-12;
constexpr double least_sum = 1e-6;  // of gates: a token uniform at its τ has gates near 0 and gradients stay bounded

// The values in f64, row-major, on the processor, which waits for a device here.
std::vector<double> values_of(const Tensor& t) {
  const NoGrad no_grad;
  const Tensor values = contiguous(cast(t.detach(), DType::f64)).to(cpu);
  return {values.values<double>().begin(), values.values<double>().end()};
}

Tensor normalized_rows(const Tensor& x) {  // x / ‖x‖; a row of zeros stays
  return x / sqrt(sum(square(x), {-1}, true) + least_norm);
}

// Tokens come in their order; those that find their expert full go without.
Tensor without_overflow(const Tensor& chosen, double capacity) {  // (rows, experts) of zeros and ones
  std::vector<double> marks = values_of(chosen);
  const auto experts = size_t(chosen.dim(1));
  const auto room = int64_t(std::ceil(double(chosen.dim(0)) / double(experts) * capacity));
  std::vector<int64_t> taken(experts, 0);
  for (size_t i = 0; i < marks.size(); ++i)
    if (marks[i] != 0 && taken[i % experts]++ >= room) marks[i] = 0;
  return cast(Tensor::from(marks, chosen.shape()).to(chosen.device()), chosen.dtype());
}

// Adds the direction of each row of x that no expert's margin lets in.
void add_unrouted(const Tensor& x, const Tensor& margin, std::vector<double>& sum) {
  const std::vector<double> rows = values_of(x), margins = values_of(margin);
  const auto in = size_t(x.dim(1)), experts = size_t(margin.dim(1));
  for (size_t n = 0; n * in < rows.size(); ++n) {
    const auto own = margins.begin() + std::ptrdiff_t(n * experts);
    if (std::any_of(own, own + std::ptrdiff_t(experts), [](double m) { return m > 0; })) continue;
    const std::span row(rows.data() + n * in, in);
    const double norm = std::sqrt(std::inner_product(row.begin(), row.end(), row.begin(), least_norm));
    sum.resize(in);
    for (size_t i = 0; i < in; ++i) sum[i] += row[i] / norm;
  }
}

}  // namespace

int64_t RoutingSpec::experts() const {
  int64_t nodes = 1, total = 0;
  for (int64_t children : levels) total += nodes *= children;
  return total;
}

int64_t RoutingSpec::most_active() const {
  if (rule != Rule::top_k && rule != Rule::switch_top1) return experts();
  const int64_t chosen = rule == Rule::top_k ? top_k : 1;
  int64_t nodes = 1, total = 0;
  for (size_t l = 0; l < levels.size(); ++l) total += nodes *= chosen;
  return total;
}

void RoutingSpec::check() const {
  const int64_t most = *std::max_element(levels.begin(), levels.end());
  const int64_t least = *std::min_element(levels.begin(), levels.end());
  require<ConfigError>(least >= 1, "adapter.experts.count: {} is below 1", least);
  require<ConfigError>(rule != Rule::top_k || (top_k >= 1 && top_k <= least),
                       "adapter.experts.top_k: {} of {} experts; lower it", top_k, least);
  require<ConfigError>(rule != Rule::top_p || (top_p > 0 && top_p <= 1),
                       "adapter.experts.top_p: {} is not above 0 and at most 1", top_p);
  require<ConfigError>(rule != Rule::threshold || threshold.value_or(0) * double(most) <= 1,
                       "adapter.experts.threshold: {} is above 1 / {} experts, so a token might reach no expert",
                       threshold.value_or(0), most);
  require<ConfigError>(rule != Rule::switch_top1 || capacity > 0, "adapter.experts.capacity: {} is not above 0",
                       capacity);
  require<ConfigError>(rule != Rule::dynmoe || levels.size() == 1,
                       "adapter.experts.hierarchy: dynmoe, whose count of experts changes, has one level");
}

std::string_view name_of(Rule rule) { return rule_names[size_t(rule)]; }

Rule parse_routing(std::string_view word, std::string_view place) {
  const auto found = std::find(rule_names.begin(), rule_names.end(), word);
  require<ConfigError>(found != rule_names.end(), "{}: '{}': expected one of {}", place, word,
                       fmt::join(rule_names, ", "));
  return Rule(found - rule_names.begin());
}

ExpertRouter::ExpertRouter(RoutingSpec spec, int64_t in, Make make) : spec_(std::move(spec)) {
  spec_.check();
  weight_ = make("router.weight", {spec_.experts(), in});
  if (spec_.rule == Rule::threshold) {
    threshold_weight_ = make("router.threshold_weight", {std::ssize(spec_.levels), in});
    threshold_bias_ = make("router.threshold_bias", {std::ssize(spec_.levels)});
  }
  if (spec_.rule == Rule::dynmoe) expert_threshold_ = make("router.expert_threshold", {spec_.experts()});
}

void ExpertRouter::visit_parameters(FunctionRef<void(const std::string& name, Tensor& value)> visit) {
  visit("router.weight", weight_);
  if (threshold_weight_.defined()) {
    visit("router.threshold_weight", threshold_weight_);
    visit("router.threshold_bias", threshold_bias_);
  }
  if (expert_threshold_.defined()) visit("router.expert_threshold", expert_threshold_);
}

bool ExpertRouter::is_constant() const {
  const NoGrad no_grad;
  const auto is_zero = [](const Tensor& t) { return !t.defined() || amax(absolute(t.detach())).item() == 0; };
  const bool single = std::all_of(spec_.levels.begin(), spec_.levels.end(), [](int64_t n) { return n == 1; });
  return single || (is_zero(weight_) && is_zero(threshold_weight_));
}

struct ExpertRouter::Level {
  int64_t rows, parents, children;  // N, and the level's part of the tree
  Scores scores{};
  Tensor probabilities{};  // (N, nodes): Π p on the path
  Tensor chosen{};         // (N, nodes): 1 or 0, without history
  Tensor gates{};          // (N, nodes)

  int64_t nodes() const { return parents * children; }
  // Values of children (N·parents, children) times those of their parents, where there are any: (N, nodes).
  Tensor along(const Tensor& parent, const Tensor& child) const {
    const Tensor own = reshape(child, {rows, parents, children});
    return reshape(parent.defined() ? own * reshape(parent, {rows, parents, 1}) : own, {rows, nodes()});
  }
  Tensor counts() const { return sum(chosen, {0}); }  // tokens that chose each: (nodes)
  Tensor total_entropy() const {
    const NoGrad no_grad;
    return sum(entropies());
  }
  Tensor entropies() const {  // each token's, given the parent: (N)
    return -sum(probabilities * reshape(scores.log_p, probabilities.shape()), {1});
  }
  void add_to(TokenRouting& tokens) const {
    const std::vector<double> entropy = values_of(entropies()), marks = values_of(chosen);
    tokens.experts.resize(entropy.size());
    tokens.entropy.resize(entropy.size());
    const auto width = size_t(nodes());
    for (size_t n = 0; n < entropy.size(); ++n) {
      const auto own = marks.begin() + std::ptrdiff_t(n * width);
      tokens.experts[n] += std::accumulate(own, own + std::ptrdiff_t(width), 0.0);
      tokens.entropy[n] += entropy[n];
    }
  }
};

Routes ExpertRouter::route(const Tensor& x, Context& context, uint64_t layer) const {
  require<ShapeError>(x.rank() == 2 && x.dim(1) == weight_.dim(1), "router: x {} against W {}", x.shape(),
                      weight_.shape());
  const DType dtype = compute_dtype(x.dtype());
  const Tensor input = cast(noisy(x, context, layer), dtype), all = logits(input);
  const bool any = x.dim(0) > 0;  // else means are none
  RoutedTokens noted;
  noted.tokens = x.dim(0);
  Tensors gates_of_levels, masks;
  Tensor penalty;
  std::optional<Level> above;
  for (size_t l = 0, first = 0; l < spec_.levels.size(); ++l) {
    Level level = choose_level(input, all, l, int64_t(first), above);
    if (any && context.training) {
      const Tensor added = loss(level);
      penalty = penalty.defined() && added.defined() ? penalty + added : added;
    }
    const Tensor entropy = any && context.routed ? level.total_entropy() : Tensor();
    if (spec_.rule == Rule::switch_top1 && context.training)
      level.chosen = without_overflow(level.chosen, spec_.capacity);
    if (spec_.rule == Rule::dynmoe && context.training && context.routed)
      add_unrouted(input, level.scores.margin, noted.unrouted);
    masks.push_back(level.chosen);
    level.gates = level.along(above ? above->gates : Tensor(), gates(level.scores, masks.back()));
    gates_of_levels.push_back(level.gates);
    if (context.by_token) level.add_to(*context.by_token);
    std::vector<int64_t>& slots = noted.slots.emplace_back(level.nodes());
    if (entropy.defined()) {  // a device is waited for
      const std::vector<double> numbers = values_of(concat(Tensors{level.counts(), reshape(entropy, {1})}, 0));
      slots.assign(numbers.begin(), numbers.end() - 1);
      noted.entropy += numbers.back();
    }
    first += size_t(level.nodes());
    above = std::move(level);
  }
  if (penalty.defined()) context.losses.push_back(penalty);
  if (context.routed) (*context.routed)[layer] = std::move(noted);
  if (context.by_token) ++context.by_token->layers;
  if (masks.size() == 1) return {gates_of_levels[0], masks[0]};
  return {concat(gates_of_levels, 1), concat(masks, 1)};
}

ExpertRouter::Level ExpertRouter::choose_level(const Tensor& x, const Tensor& logits, size_t l, int64_t first,
                                               const std::optional<Level>& above) const {
  Level level{.rows = x.dim(0), .parents = above ? above->nodes() : 1, .children = spec_.levels[l]};
  const Shape by_parent{level.rows * level.parents, level.children};
  level.scores = scores(x, reshape(slice(logits, 1, first, level.nodes()), by_parent), l);
  level.probabilities = level.along(above ? above->probabilities : Tensor(), level.scores.p);
  level.chosen = reshape(choose(level.scores, above ? reshape(above->chosen, {by_parent[0]}) : Tensor()),
                         level.probabilities.shape());
  return level;
}

Tensor ExpertRouter::noisy(const Tensor& x, const Context& context, uint64_t layer) const {
  if (spec_.rule != Rule::switch_top1 || !context.training || spec_.noise == 0) return x;
  const RandomStream stream(context.key(layer, Purpose::router_noise));
  std::vector<float> factors(size_t(x.numel()));
  for (size_t i = 0; i < factors.size(); ++i)
    factors[i] = float(1 + spec_.noise * (2.0 * double(stream.uniform(i)) - 1));
  return x * cast(Tensor::from(factors, x.shape()).to(x.device()), x.dtype());
}

Tensor ExpertRouter::logits(const Tensor& x) const {
  const Tensor w = cast(weight_, x.dtype());
  if (spec_.rule != Rule::dynmoe) return matmul(x, w, false, true);
  return matmul(normalized_rows(x), normalized_rows(w), false, true) * dynmoe_scale;
}

ExpertRouter::Scores ExpertRouter::scores(const Tensor& x, const Tensor& logits, size_t level) const {
  if (spec_.rule == Rule::dynmoe) {
    const Tensor s = sigmoid(logits), total = sum(s, {-1}, true);
    return {logits, s / total, log(s) - log(total), s - sigmoid(cast(expert_threshold_, x.dtype()))};
  }
  Scores found{logits, softmax(logits), log_softmax(logits)};
  if (spec_.rule == Rule::threshold) {
    const auto own = [&](const Tensor& t) { return cast(slice(t, 0, int64_t(level), 1), x.dtype()); };
    const Tensor line = matmul(x, contiguous(own(threshold_weight_)), false, true) + own(threshold_bias_);  // (N, 1)
    const Tensor tau = sigmoid(line) * spec_.threshold.value_or(1 / double(logits.dim(1)));
    const Shape by_token{x.dim(0), logits.numel() / std::max<int64_t>(1, x.dim(0))};
    found.margin = reshape(reshape(found.p, by_token) - tau, logits.shape());
  }
  return found;
}

Tensor ExpertRouter::choose(const Scores& scores, const Tensor& reached) const {
  const NoGrad no_grad;
  const Tensor p = contiguous(scores.p), margin = scores.margin.defined() ? contiguous(scores.margin) : Tensor();
  Tensor chosen = Tensor::empty(p.meta());
  kernels::choose_experts(p, margin, reached, chosen,
                          {.top_k = spec_.rule == Rule::top_k ? spec_.top_k : 1,
                           .top_p = spec_.rule == Rule::top_p ? spec_.top_p : 0,
                           .at_zero = spec_.rule == Rule::threshold});
  return chosen;
}

Tensor ExpertRouter::gates(const Scores& scores, const Tensor& mask) const {
  const Tensor chosen = reshape(mask, scores.p.shape());
  if (spec_.rule == Rule::dynmoe) {
    const Tensor straight_through = 1 + (scores.margin - scores.margin.detach());
    return straight_through * chosen / sum(chosen, {-1}, true);
  }
  const Tensor kept = (spec_.rule == Rule::threshold ? relu(scores.margin) : scores.p) * chosen;
  if (spec_.rule == Rule::top_p || spec_.rule == Rule::switch_top1) return kept;
  const Tensor total = sum(kept, {-1}, true);  // 0 below a parent that is not chosen
  return kept / maximum(total, full_like(total, least_sum));
}

Tensor ExpertRouter::loss(const Level& level) const {
  Tensor total;
  const auto add = [&](double weight, const Tensor& value) {
    total = total.defined() ? total + value * weight : value * weight;
  };
  if (spec_.balance > 0) {
    const Tensor counts = level.counts(), all = sum(counts);  // (nodes)
    const Tensor share = all.device() == cpu ? counts / all.item() : counts / all;
    add(spec_.balance, sum(share * mean(level.probabilities, {0})) * double(level.nodes()));
  }
  if (spec_.z_loss > 0) add(spec_.z_loss, mean(square(logsumexp(level.scores.logits))));
  if (spec_.entropy > 0 && spec_.rule == Rule::top_p) add(spec_.entropy, mean(level.entropies()));
  return total;
}

RoutingSummary summarize(const RoutedLayers& layers) {
  RoutingSummary summary;
  double tokens = 0;
  std::optional<double> idlest;
  for (const auto& [layer, routed] : layers) {
    tokens += double(routed.tokens);
    summary.entropy += routed.entropy;
    summary.steps += routed.steps;
    for (const std::vector<int64_t>& slots : routed.slots) {
      const double used = double(std::accumulate(slots.begin(), slots.end(), int64_t{0}));
      const auto [least, most] = std::minmax_element(slots.begin(), slots.end());
      const double by_fair_share = double(slots.size()) / std::max(1.0, used);
      summary.active_experts += used;
      summary.load_max = std::max(summary.load_max, double(*most) * by_fair_share);
      idlest = std::min(idlest.value_or(summary.load_max), double(*least) * by_fair_share);
    }
  }
  summary.load_min = idlest.value_or(0);
  summary.active_experts /= std::max(1.0, tokens);
  summary.entropy /= std::max(1.0, tokens);
  summary.steps /= std::max(1.0, tokens);
  return summary;
}

void accumulate(RoutedLayers& layers, const RoutedLayers& more) {
  const auto add = [](auto& sums, const auto& values) {
    sums.resize(values.size());
    for (size_t i = 0; i < values.size(); ++i) sums[i] += values[i];
  };
  for (const auto& [layer, routed] : more) {
    RoutedTokens& own = layers[layer];
    own.tokens += routed.tokens;
    own.entropy += routed.entropy;
    own.steps += routed.steps;
    own.slots.resize(routed.slots.size());
    for (size_t l = 0; l < routed.slots.size(); ++l) add(own.slots[l], routed.slots[l]);
    if (!routed.unrouted.empty()) add(own.unrouted, routed.unrouted);
  }
}

}  // namespace mora
