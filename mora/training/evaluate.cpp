#include "mora/training/evaluate.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

namespace mora {
namespace {

// Calls visit(batch) for the examples in their order, about as many tokens at a time as a small training batch has.
template <class Visit>
void for_each_batch(const TaskData& data, Visit visit) {
  constexpr int64_t tokens_at_once = 1024;
  std::vector<int64_t> examples;
  int64_t tokens = 0;
  for (int64_t i = 0; i < data.size(); ++i) {
    examples.push_back(i);
    tokens += data.lengths()[size_t(i)];
    if (tokens < tokens_at_once && i + 1 < data.size()) continue;
    visit(data.batch(examples));
    examples.clear();
    tokens = 0;
  }
}

Evaluation evaluate_language(const MoRAModel& model, const TaskData& data) {
  const Objective objective{.task = Task::causal_lm, .class_weights = {}};
  double loss = 0, labels = 0;
  for_each_batch(data, [&](const PackedBatch& batch) {
    Context context;
    labels += objective.weight(batch);
    loss += objective.total(model, batch, context).item();
  });
  return {loss / std::max(1.0, labels), language_metrics(loss, int64_t(labels))};
}

}  // namespace

nlohmann::ordered_json to_json(const Evaluation& evaluation) {
  nlohmann::ordered_json json = {{"loss", evaluation.loss}};
  for (const auto& [name, value] : evaluation.metrics.values)
    json[name] = std::isfinite(value) ? nlohmann::ordered_json(value) : nullptr;
  if (evaluation.metrics.tokens) json["tokens"] = *evaluation.metrics.tokens;
  const auto classes = size_t(evaluation.metrics.classes);
  for (size_t row = 0; row < classes; ++row) {
    const auto* begin = evaluation.metrics.confusion.data() + row * classes;
    json["confusion"].push_back(std::vector<int64_t>(begin, begin + classes));
  }
  return json;
}

std::vector<double> probabilities(std::span<const float> logits) {
  const double top = *std::max_element(logits.begin(), logits.end());
  std::vector<double> p;
  double total = 0;
  for (float x : logits) total += p.emplace_back(std::exp(double(x) - top));
  for (double& x : p) x /= total;
  return p;
}

std::vector<float> outputs_of(const MoRAModel& model, const TaskData& data) {
  const NoGrad no_grad;
  std::vector<float> outputs;
  for_each_batch(data, [&](const PackedBatch& batch) {
    Context context;
    const Tensor logits = model.logits(to_sequences(batch), context);
    const auto values = logits.values<float>();
    outputs.insert(outputs.end(), values.begin(), values.end());
  });
  return outputs;
}

Evaluation evaluate(const MoRAModel& model, const TaskData& data, Task task) {
  const NoGrad no_grad;
  if (task == Task::causal_lm) return evaluate_language(model, data);
  const Objective objective{.task = task, .class_weights = {}};
  double loss = 0;
  std::vector<double> outputs, targets;
  std::vector<int64_t> classes;
  int64_t width = 1;
  for_each_batch(data, [&](const PackedBatch& batch) {
    Context context;
    const Tensor logits = model.logits(to_sequences(batch), context);
    loss += objective.total_of(logits, batch).item();
    width = logits.dim(1);
    for (int64_t b = 0; b < batch.sequences(); ++b) {
      const auto row = logits.values<float>().subspan(size_t(b * width), size_t(width));
      if (task == Task::regression)
        outputs.push_back(double(row[0]));
      else
        for (double p : probabilities(row)) outputs.push_back(p);
    }
    classes.insert(classes.end(), batch.labels.begin(), batch.labels.end());
    targets.insert(targets.end(), batch.targets.begin(), batch.targets.end());
  });
  loss /= double(data.size());
  return {loss, task == Task::regression ? regression_metrics(targets, outputs)
                                         : classification_metrics(classes, outputs, width)};
}

}  // namespace mora
