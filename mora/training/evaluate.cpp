#include "mora/training/evaluate.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "autograd/ops/reduce.h"
#include "loaders/durable_file.h"
#include "loaders/utf8.h"

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

void visit_tokens(const PackedBatch& batch, std::span<const float> losses, const TokenRouting& routing,
                  const TokenVisitor& visit) {
  const std::vector<int32_t> labels = next_token_labels(batch);
  const double layers = double(std::max<int64_t>(1, routing.layers));
  for (size_t b = 0; b + 1 < batch.offsets.size(); ++b) {
    for (auto n = size_t(batch.offsets[b]); n < size_t(batch.offsets[b + 1]); ++n) {
      if (labels[n] < 0) continue;
      PredictedToken token{batch.rows[b], batch.positions[n] + 1, labels[n], double(losses[n])};
      token.is_routed = routing.layers > 0;
      if (token.is_routed) token.experts = routing.experts[n] / layers, token.entropy = routing.entropy[n] / layers;
      visit(token);
    }
  }
}

Evaluation evaluate_language(const MoRAModel& model, const TaskData& data, const TokenVisitor& visit) {
  const Objective objective{.task = Task::causal_lm, .class_weights = {}};
  double loss = 0, labels = 0;
  RoutedLayers all_routed;
  for_each_batch(data, [&](const PackedBatch& batch) {
    RoutedLayers routed;
    TokenRouting by_token;
    Context context;
    context.routed = &routed;
    if (visit) context.by_token = &by_token;
    const Tensor losses = objective.next_token_losses(model, batch, context);
    labels += objective.weight(batch);
    loss += sum(losses).item();
    accumulate(all_routed, routed);
    if (visit) visit_tokens(batch, losses.to(cpu).values<float>(), by_token, visit);
  });
  Evaluation evaluation{loss / std::max(1.0, labels), language_metrics(loss, int64_t(labels))};
  evaluation.routed = std::move(all_routed);
  return evaluation;
}

nlohmann::ordered_json class_prediction(std::span<const double> p, size_t truth,
                                        const std::vector<std::string>& labels) {
  const auto predicted = size_t(std::ranges::max_element(p) - p.begin());
  const double likelihood = std::max(p[truth], std::numeric_limits<double>::min());
  return {{"truth", labels[truth]},
          {"predicted", labels[predicted]},
          {"confidence", p[predicted]},
          {"loss", -std::log(likelihood)}};
}

// At most 400 bytes, cut between characters.
std::string opening(const std::string& text) {
  constexpr size_t limit = 400;
  if (text.size() <= limit) return text;
  return text.substr(0, valid_utf8_prefix(std::string_view(text).substr(0, limit))) + "…";
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

void write_predictions(const std::filesystem::path& file, const Evaluation& evaluation, const TaskData& data,
                       Task task) {
  const size_t width = evaluation.predictions.size() / size_t(std::max<int64_t>(1, data.size()));
  invariant(width * size_t(data.size()) == evaluation.predictions.size(), "{}: {} predictions for {} rows",
            file.string(), evaluation.predictions.size(), data.size());
  DurableFile out(file);
  for (int64_t i = 0; i < data.size(); ++i) {
    const double truth = evaluation.truths[size_t(i)];
    const auto p = std::span(evaluation.predictions).subspan(size_t(i) * width, width);
    nlohmann::ordered_json line = {{"text", opening(data.text(i))}};
    if (task == Task::regression)
      line.update({{"truth", truth}, {"predicted", p[0]}, {"loss", (p[0] - truth) * (p[0] - truth)}});
    else
      line.update(class_prediction(p, size_t(truth), data.labels()));
    out.write(line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
  }
  out.commit();
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
    const Tensor logits = model.logits(to_sequences(batch), context).to(cpu);
    const auto values = logits.values<float>();
    outputs.insert(outputs.end(), values.begin(), values.end());
  });
  return outputs;
}

Evaluation evaluate(const MoRAModel& model, const TaskData& data, Task task, const TokenVisitor& visit) {
  const NoGrad no_grad;
  if (task == Task::causal_lm) return evaluate_language(model, data, visit);
  const Objective objective{.task = task, .class_weights = {}};
  double loss = 0;
  std::vector<double> outputs, targets;
  std::vector<int64_t> classes;
  int64_t width = 1;
  RoutedLayers all_routed;
  for_each_batch(data, [&](const PackedBatch& batch) {
    RoutedLayers routed;
    Context context;
    context.routed = &routed;
    const Tensor logits = model.logits(to_sequences(batch), context);
    loss += objective.total_of(logits, batch).item();
    width = logits.dim(1);
    const Tensor rows = logits.to(cpu);
    for (int64_t b = 0; b < batch.sequences(); ++b) {
      const auto row = rows.values<float>().subspan(size_t(b * width), size_t(width));
      if (task == Task::regression)
        outputs.push_back(double(row[0]));
      else
        for (double p : probabilities(row)) outputs.push_back(p);
    }
    classes.insert(classes.end(), batch.labels.begin(), batch.labels.end());
    targets.insert(targets.end(), batch.targets.begin(), batch.targets.end());
    accumulate(all_routed, routed);
  });
  loss /= double(data.size());
  MetricReport metrics =
      task == Task::regression ? regression_metrics(targets, outputs) : classification_metrics(classes, outputs, width);
  if (task != Task::regression) targets.assign(classes.begin(), classes.end());
  return {loss, std::move(metrics), std::move(outputs), std::move(targets), std::move(all_routed)};
}

}  // namespace mora
