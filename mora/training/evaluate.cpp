#include "mora/training/evaluate.h"

#include <algorithm>
#include <cmath>

#include "autograd/ops/arithmetic.h"
#include "autograd/ops/cross_entropy.h"
#include "autograd/ops/elementary.h"
#include "autograd/ops/shape.h"

namespace mora {
namespace {

constexpr int64_t rows_at_once = 32;

}  // namespace

Tensor row_losses(const Tensor& logits, const PackedBatch& batch, Task task) {
  const Shape rows{batch.sequences()};
  if (task == Task::classification) return cross_entropy(logits, Tensor::from(batch.labels, rows));
  return square(reshape(logits, rows) - Tensor::from(batch.targets, rows));
}

std::vector<double> probabilities(std::span<const float> logits) {
  const double top = *std::max_element(logits.begin(), logits.end());
  std::vector<double> p;
  double total = 0;
  for (float x : logits) total += p.emplace_back(std::exp(double(x) - top));
  for (double& x : p) x /= total;
  return p;
}

Evaluation evaluate(const MoRAModel& model, const SequenceData& data, Task task, bool scored) {
  const NoGrad no_grad;
  Evaluation result;
  double loss = 0;
  for (int64_t begin = 0; begin < data.size(); begin += rows_at_once) {
    std::vector<int64_t> rows;
    for (int64_t r = begin; r < std::min(begin + rows_at_once, data.size()); ++r) rows.push_back(r);
    const PackedBatch batch = pack_rows(data, rows);
    Context context;
    const Tensor logits = model.logits(to_sequences(batch), context);
    const auto values = logits.values<float>();
    result.outputs.insert(result.outputs.end(), values.begin(), values.end());
    result.tokens += batch.tokens();
    if (!scored) continue;
    for (float l : row_losses(logits, batch, task).values<float>()) loss += double(l);
  }
  if (!scored) return result;
  result.loss = loss / double(data.size());
  if (task == Task::regression) {
    std::vector<double> truth, predicted(result.outputs.begin(), result.outputs.end());
    for (const Example& e : data.examples) truth.push_back(double(e.target));
    result.metrics = regression_metrics(truth, predicted);
    return result;
  }
  const size_t classes = result.outputs.size() / size_t(data.size());
  std::vector<int64_t> truth;
  std::vector<double> p;
  for (size_t r = 0; r < data.examples.size(); ++r) {
    truth.push_back(data.examples[r].label);
    const auto row = probabilities(std::span(result.outputs).subspan(r * classes, classes));
    p.insert(p.end(), row.begin(), row.end());
  }
  result.metrics = classification_metrics(truth, p, int64_t(classes));
  return result;
}

}  // namespace mora
