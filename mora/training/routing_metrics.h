// What routed layers did in an update, for metrics.jsonl.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "mora/mora_model.h"

namespace mora {

// active_experts, expert_load_min, expert_load_max and router_entropy, act_steps: those that apply, over all layers.
nlohmann::ordered_json routing_metrics(const RoutedLayers& routed);
// By module path: active_experts, load (tokens of each expert by the fair share of its level, level by level), entropy,
// act_steps.
nlohmann::ordered_json routing_by_layer(const MoRAModel& model, const RoutedLayers& routed);

}  // namespace mora
