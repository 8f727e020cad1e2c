// An evaluation as the commands print it.
#pragma once

#include <cmath>
#include <nlohmann/json.hpp>

#include "mora/training/evaluate.h"

namespace mora {

// {"loss": …, metrics…, "confusion": [[…]]}; a metric that is undefined is null.
inline nlohmann::ordered_json to_json(const Evaluation& evaluation) {
  nlohmann::ordered_json json = {{"loss", evaluation.loss}};
  for (const auto& [name, value] : evaluation.metrics.values)
    json[name] = std::isfinite(value) ? nlohmann::ordered_json(value) : nullptr;
  const auto classes = size_t(evaluation.metrics.classes);
  for (size_t row = 0; row < classes; ++row) {
    const auto* begin = evaluation.metrics.confusion.data() + row * classes;
    json["confusion"].push_back(std::vector<int64_t>(begin, begin + classes));
  }
  return json;
}

}  // namespace mora
