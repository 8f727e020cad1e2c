// Evaluation: what `mora eval` prints, and a run's validation.
#pragma once

#include <filesystem>
#include <functional>
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
  RoutedLayers routed = {};  // what routed layers did, over all rows
};

// A token that a language model was asked for.
struct PredictedToken {
  int64_t row, place;  // of the data, and in the row, from 0
  int32_t id;
  double loss;             // cross-entropy
  double experts = 0;      // that the token before it used, where it was predicted: the mean over the routed layers
  double entropy = 0;      // of the routers there, in nats; likewise
  bool is_routed = false;  // there are routed layers
};
using TokenVisitor = std::function<void(const PredictedToken&)>;

// {"loss": …, metrics …, "tokens": …, "confusion": [[…]]}; a metric that is undefined is null.
nlohmann::ordered_json to_json(const Evaluation& evaluation);

// valid.jsonl of a run directory, one object a row of `data`, which `evaluation` was made on:
//
//   {"text" (the first 400 bytes), "truth", "predicted", "loss"}, labels by name; classification also "confidence", the
//   probability of what was predicted
void write_predictions(const std::filesystem::path& file, const Evaluation& evaluation, const TaskData& data,
                       Task task);

// Runs the model over all examples without recording. causal_lm: `visit` is shown each labelled token, in order.
Evaluation evaluate(const MoRAModel& model, const TaskData& data, Task task, const TokenVisitor& visit = {});

// The head's outputs, (rows, classes) row-major: logits, in the order of the examples.
std::vector<float> outputs_of(const MoRAModel& model, const TaskData& data);

// softmax of one row of logits.
std::vector<double> probabilities(std::span<const float> logits);

}  // namespace mora
