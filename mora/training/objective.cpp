#include "mora/training/objective.h"

#include <algorithm>

#include "autograd/ops/arithmetic.h"
#include "autograd/ops/cross_entropy.h"
#include "autograd/ops/elementary.h"
#include "autograd/ops/linear_cross_entropy.h"
#include "autograd/ops/reduce.h"
#include "autograd/ops/shape.h"

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

Tensor Objective::total_of(const Tensor& logits, const PackedBatch& batch) const {
  const Shape rows{batch.sequences()};
  const Device device = logits.device();
  if (task == Task::regression)
    return sum(square(reshape(logits, rows) - Tensor::from(batch.targets, rows).to(device)));
  const Tensor losses = cross_entropy(logits, Tensor::from(batch.labels, rows).to(device));
  if (class_weights.empty()) return sum(losses);
  std::vector<float> weights;
  for (int32_t label : batch.labels) weights.push_back(class_weights[size_t(label)]);
  return sum(losses * Tensor::from(weights, rows).to(device));
}

Tensor Objective::total(const MoRAModel& model, const PackedBatch& batch, Context& context) const {
  if (task != Task::causal_lm) return total_of(model.logits(to_sequences(batch), context), batch);
  return sum(next_token_losses(model, batch, context));
}

Tensor Objective::next_token_losses(const MoRAModel& model, const PackedBatch& batch, Context& context) const {
  const Tensor hidden = model.base().hidden_states(to_sequences(batch), context);  // (N, d)
  const Tensor labels = Tensor::from(next_token_labels(batch), {batch.tokens()});
  return linear_cross_entropy(hidden, model.base().lm_head(), Labelled(labels).to(hidden.device()));
}

}  // namespace mora
