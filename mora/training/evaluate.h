// Evaluation.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "mora/training/metrics.h"
#include "mora/training/objective.h"
#include "mora/training/task_data.h"

namespace mora {

struct Evaluation {
  double loss = 0;  // mean over rows or labelled tokens: cross-entropy, or mean squared error
  MetricReport metrics;
};

// {"loss": …, metrics …, "tokens": …, "confusion": [[…]]}; a metric that is undefined is null.
nlohmann::ordered_json to_json(const Evaluation& evaluation);

// Runs the model over all examples without recording.
Evaluation evaluate(const MoRAModel& model, const TaskData& data, Task task);

// The head's outputs, (rows, classes) row-major: logits, in the order of the examples.
std::vector<float> outputs_of(const MoRAModel& model, const TaskData& data);

// softmax of one row of logits.
std::vector<double> probabilities(std::span<const float> logits);

}  // namespace mora
