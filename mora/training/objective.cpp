#include "mora/training/objective.h"

#include <algorithm>

#include "autograd/ops/arithmetic.h"
#include "autograd/ops/cross_entropy.h"
#include "autograd/ops/elementary.h"
#include "autograd/ops/linear_cross_entropy.h"
#include "autograd/ops/reduce.h"
#include "autograd/ops/shape.h"
#include "mora/training/filled_batch.h"

namespace mora {

std::vector<int32_t> next_token_labels(const PackedBatch& batch) {
  std::vector<int32_t> labels(batch.ids.size(), kIgnoredLabel);
  for (size_t b = 0; b + 1 < batch.offsets.size(); ++b) {
    for (int32_t n = batch.offsets[b]; n + 1 < batch.offsets[b + 1]; ++n)
      labels[size_t(n)] = batch.token_labels[size_t(n) + 1];
  }
  return labels;
}

double Objective::weight(const PackedBatch& batch) const {
  if (task == Task::causal_lm) {
    const std::vector<int32_t> labels = next_token_labels(batch);
    return double(std::count_if(labels.begin(), labels.end(), [](int32_t l) { return l >= 0; }));
  }
  if (class_weights.empty()) return double(batch.sequences());
  double total = 0;
  for (int32_t label : batch.labels) total += double(class_weights[size_t(label)]);
  return total;
}

RowTargets Objective::rows_of(const PackedBatch& batch, Device device) const {
  const Shape rows{batch.sequences()};
  const bool is_regression = task == Task::regression;
  RowTargets result{
      .targets = (is_regression ? Tensor::from(batch.targets, rows) : Tensor::from(batch.labels, rows)).to(device)};
  const bool has_fillers = batch.rows.back() < 0;
  if (is_regression ? !has_fillers : class_weights.empty()) return result;
  std::vector<float> weights;
  for (size_t b = 0; b < batch.rows.size(); ++b)
    weights.push_back(batch.rows[b] < 0 ? 0 : is_regression ? 1 : class_weights[size_t(batch.labels[b])]);
  result.weights = Tensor::from(weights, rows).to(device);
  return result;
}

BatchTensors Objective::tensors(const PackedBatch& batch, Device device, bool fill) const {
  BatchTensors result{.sequences = to_sequences(batch).to(device)};
  if (task != Task::causal_lm) {
    result.rows = rows_of(batch, device);
    return result;
  }
  Labelled labelled(Tensor::from(next_token_labels(batch), {batch.tokens()}));
  if (fill) labelled.fill(filled_count(labelled.count() + 1));
  result.labelled = labelled.to(device);
  return result;
}

Tensor Objective::total_of(const Tensor& logits, const RowTargets& rows) const {
  const Tensor losses = task == Task::regression ? square(reshape(logits, rows.targets.shape()) - rows.targets)
                                                 : cross_entropy(logits, rows.targets);
  return sum(rows.weights.defined() ? losses * rows.weights : losses);
}

Tensor Objective::total_of(const Tensor& logits, const PackedBatch& batch) const {
  return total_of(logits, rows_of(batch, logits.device()));
}

Tensor Objective::total(const MoRAModel& model, const BatchTensors& batch, Context& context) const {
  if (task != Task::causal_lm) return total_of(model.logits(batch.sequences, context), batch.rows);
  return sum(next_token_losses(model, batch, context));
}

Tensor Objective::total(const MoRAModel& model, const PackedBatch& batch, Context& context) const {
  return total(model, tensors(batch, model.base().device()), context);
}

Tensor Objective::next_token_losses(const MoRAModel& model, const BatchTensors& batch, Context& context) const {
  const Tensor hidden = model.base().hidden_states(batch.sequences, context);  // (N, d)
  return linear_cross_entropy(hidden, model.base().lm_head(), *batch.labelled);
}

Tensor Objective::next_token_losses(const MoRAModel& model, const PackedBatch& batch, Context& context) const {
  return next_token_losses(model, tensors(batch, model.base().device()), context);
}

}  // namespace mora
