#include "mora/training/routing_metrics.h"

#include <nlohmann/json.hpp>
#include <numeric>

namespace mora {
namespace {

using Json = nlohmann::ordered_json;

Json load_of(const RoutedTokens& seen) {
  Json levels = Json::array();
  for (const std::vector<int64_t>& slots : seen.slots) {
    const double used = double(std::accumulate(slots.begin(), slots.end(), int64_t{0}));
    Json& level = levels.emplace_back(Json::array());
    for (int64_t tokens : slots) level.push_back(double(tokens) * double(slots.size()) / std::max(1.0, used));
  }
  return levels;
}

}  // namespace

Json routing_metrics(const RoutedLayers& routed) {
  const RoutingSummary summary = summarize(routed);
  Json metrics = Json::object();
  if (summary.active_experts > 0) {
    metrics["active_experts"] = summary.active_experts;
    metrics["expert_load_min"] = summary.load_min;
    metrics["expert_load_max"] = summary.load_max;
    metrics["router_entropy"] = summary.entropy;
  }
  if (summary.steps > 0) metrics["act_steps"] = summary.steps;
  return metrics;
}

Json routing_by_layer(const MoRAModel& model, const RoutedLayers& routed) {
  Json layers = Json::object();
  for (const auto& [path, linear] : model.adapted()) {
    const auto* layer = dynamic_cast<const RoutedLayer*>(&linear->layer());
    const auto seen = layer ? routed.find(layer->index()) : routed.end();
    if (seen == routed.end()) continue;
    Json own = routing_metrics({*seen});
    for (const char* key : {"expert_load_min", "expert_load_max"}) own.erase(key);
    if (!seen->second.slots.empty()) own["load"] = load_of(seen->second);
    layers[path] = std::move(own);
  }
  return layers;
}

}  // namespace mora
