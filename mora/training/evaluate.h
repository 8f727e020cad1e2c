// Evaluation: what `mora eval` prints, and a run's validation.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>

#include "mora/training/metrics.h"
#include "mora/training/objective.h"
#include "mora/training/task_data.h"

namespace mora {

struct Evaluation {
  double loss = 0;  // mean over rows or labelled tokens: cross-entropy, or mean squared error
  MetricReport metrics;
  // By row: classification: the classes' probabilities, (rows, classes) row-major; regression: the predicted value;
  // nothing for a language model.
  std::vector<double> predictions = {};
  // By row: the class, or the value.
  std::vector<double> truths = {};
};

// {"loss": …, metrics …, "tokens": …, "confusion": [[…]]}; a metric that is undefined is null.
nlohmann::ordered_json to_json(const Evaluation& evaluation);

// valid.jsonl of a run directory, one object a row of `data`, which `evaluation` was made on:
//
//   {"text" (the first 400 bytes), "truth", "predicted", "loss"}, labels by name; classification also "confidence", the
//   probability of what was predicted
void write_predictions(const std::filesystem::path& file, const Evaluation& evaluation, const TaskData& data,
                       Task task);

// Runs the model over all examples without recording.
Evaluation evaluate(const MoRAModel& model, const TaskData& data, Task task);

// The head's outputs, (rows, classes) row-major: logits, in the order of the examples.
std::vector<float> outputs_of(const MoRAModel& model, const TaskData& data);

// softmax of one row of logits.
std::vector<double> probabilities(std::span<const float> logits);

}  // namespace mora
