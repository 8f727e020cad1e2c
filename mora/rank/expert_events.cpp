#include "mora/rank/expert_events.h"

#include <charconv>
#include <cmath>
#include <numeric>

namespace mora {
namespace {

constexpr std::string_view slots_name = ".slots", unrouted_name = ".unrouted";

// The layer of a linear that has experts, or nullptr.
RoutedLayer* experts_in(MoRALinear& linear) {
  auto* layer = dynamic_cast<RoutedLayer*>(&linear.layer());
  return layer && layer->routed().experts ? layer : nullptr;
}

}  // namespace

std::map<std::string, int64_t> experts_of(const MoRAModel& model) {
  std::map<std::string, int64_t> counts;
  for (const auto& [path, linear] : model.adapted())
    if (RoutedLayer* layer = experts_in(*linear)) counts[path] = layer->experts();
  return counts;
}

bool ExpertAllocator::applies_to(const MoRAModel& model) {
  for (const auto& [path, linear] : model.adapted()) {
    RoutedLayer* layer = experts_in(*linear);
    if (layer && layer->routed().experts->rule == RoutingSpec::Rule::dynmoe) return true;
  }
  return false;
}

std::optional<RankEvent> ExpertAllocator::after_update(int64_t update, const RoutedLayers& routed) {
  accumulate(seen_, routed);
  if (update % options_.interval != 0) return {};
  const std::map<std::string, int64_t> before = experts_of(model_);
  for (const auto& [path, linear] : model_.adapted()) {
    RoutedLayer* layer = experts_in(*linear);
    const auto seen = layer ? seen_.find(layer->index()) : seen_.end();
    if (seen != seen_.end()) apply(path, *layer, change_of(seen->second), update);
  }
  seen_.clear();
  std::map<std::string, int64_t> after = experts_of(model_);
  if (after == before) return {};
  const double total = std::accumulate(after.begin(), after.end(), 0.0,
                                       [](double sum, const auto& layer) { return sum + double(layer.second); });
  return RankEvent{"experts", after, total / double(after.size())};
}

RoutedLayer::Change ExpertAllocator::change_of(const RoutedTokens& seen) const {
  RoutedLayer::Change change;
  const std::vector<int64_t>& slots = seen.slots.front();
  for (size_t e = 0; e < slots.size(); ++e)
    if (slots[e] > 0) change.kept.push_back(int64_t(e));
  const std::vector<double>& sum = seen.unrouted;
  const double norm = std::sqrt(std::inner_product(sum.begin(), sum.end(), sum.begin(), 0.0));
  if (norm == 0 || std::ssize(change.kept) >= options_.most) return change;
  for (double v : sum) change.direction.push_back(v / norm);
  return change;
}

void ExpertAllocator::apply(const std::string& path, RoutedLayer& layer, const RoutedLayer::Change& change,
                            int64_t update) {
  if (change.direction.empty() && std::ssize(change.kept) == layer.experts()) return;
  layer.apply(change,
              RandomStream(
                  {.seed = options_.seed, .step = uint64_t(update), .layer = layer.index(), .purpose = Purpose::init}));
  layer.visit_parameters([&](const std::string& name, Tensor& value) {
    const auto& all = optimizer_.parameters();
    const auto found =
        std::find_if(all.begin(), all.end(), [&](const Parameter& p) { return p.name == path + "." + name; });
    invariant(found != all.end(), "{}.{} is no parameter", path, name);
    optimizer_.resize(size_t(found - all.begin()), value,
                      [&](const Tensor& moment) { return layer.select(name, moment, change); });
  });
}

std::vector<NamedTensor> ExpertAllocator::state() const {
  std::vector<NamedTensor> list;
  for (const auto& [layer, seen] : seen_) {
    const std::string name = std::to_string(layer);
    list.push_back(
        {name + std::string(slots_name), Tensor::from(seen.slots.front(), {std::ssize(seen.slots.front())})});
    if (!seen.unrouted.empty())
      list.push_back({name + std::string(unrouted_name), Tensor::from(seen.unrouted, {std::ssize(seen.unrouted)})});
  }
  return list;
}

void ExpertAllocator::load_state(std::span<const NamedTensor> saved) {
  seen_.clear();
  for (const NamedTensor& t : saved) {
    uint64_t layer = 0;
    const auto [end, error] = std::from_chars(t.name.data(), t.name.data() + t.name.size(), layer);
    const std::string_view what(end, size_t(t.name.data() + t.name.size() - end));
    require<IoError>(error == std::errc() && (what == slots_name || what == unrouted_name) && t.tensor.rank() == 1,
                     "rank state: '{}' is not understood", t.name);
    RoutedTokens& seen = seen_[layer];
    if (what == slots_name)
      seen.slots = {{t.tensor.values<int64_t>().begin(), t.tensor.values<int64_t>().end()}};
    else
      seen.unrouted.assign(t.tensor.values<double>().begin(), t.tensor.values<double>().end());
  }
  for (const auto& [path, linear] : model_.adapted()) {
    RoutedLayer* layer = experts_in(*linear);
    if (!layer || !seen_.contains(layer->index())) continue;
    const RoutedTokens& seen = seen_.at(layer->index());
    const int64_t experts = layer->experts();
    require<IoError>(seen.slots.size() == 1 && std::ssize(seen.slots[0]) == experts &&
                         (seen.unrouted.empty() || std::ssize(seen.unrouted) == linear->in()),
                     "rank state: what is known of '{}' does not fit its {} experts", path, experts);
  }
}

}  // namespace mora
