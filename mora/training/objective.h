// What a task minimises on a batch.
#pragma once

#include <vector>

#include "autograd/ops/linear_cross_entropy.h"
#include "mora/mora_model.h"
#include "mora/training/config.h"

namespace mora {

// What the rows of a batch are asked for, on one device.
struct RowTargets {
  Tensor targets;       // classification: i32 (B), kIgnoredLabel where there is no loss; regression: f32 (B)
  Tensor weights = {};  // f32 (B), of the rows' losses; undefined: all 1
};

// A batch as its loss reads it, on one device.
struct BatchTensors {
  Sequences sequences;
  RowTargets rows = {};                   // classification and regression
  std::optional<Labelled> labelled = {};  // causal_lm: the tokens whose next one is asked for, and it
};

struct Objective {
  Task task = Task::classification;
  std::vector<float> class_weights;  // classification, by class; empty: all 1

  // What the total is divided by for a mean: labelled rows, their class weights, or labelled tokens.
  double weight(const PackedBatch& batch) const;
  // The batch on a device. `fill`: its labelled tokens are filled up as `filled` has done with the rest of it
  // (mora/training/filled_batch.h).
  BatchTensors tensors(const PackedBatch& batch, Device device, bool fill = false) const;
  // causal_lm: the cross-entropy of each token's next one, (N); 0 where that is not trained.
  Tensor next_token_losses(const MoRAModel& model, const PackedBatch& batch, Context& context) const;
  // Σ of the losses: cross-entropy of rows, squared errors, or cross-entropy of labelled tokens; a scalar.
  Tensor total(const MoRAModel& model, const PackedBatch& batch, Context& context) const;
  Tensor total(const MoRAModel& model, const BatchTensors& batch, Context& context) const;
  // The same from outputs already computed: logits (B, classes) of classification or regression.
  Tensor total_of(const Tensor& logits, const PackedBatch& batch) const;

 private:
  Tensor next_token_losses(const MoRAModel& model, const BatchTensors& batch, Context& context) const;
  RowTargets rows_of(const PackedBatch& batch, Device device) const;
  Tensor total_of(const Tensor& logits, const RowTargets& rows) const;
};

// Token n of a packed batch is asked for the token after it: labels (N), kIgnoredLabel at the end of each sequence and
// where the next token is not trained.
std::vector<int32_t> next_token_labels(const PackedBatch& batch);

}  // namespace mora
