// What a task minimises on a batch.
#pragma once

#include <vector>

#include "mora/mora_model.h"
#include "mora/training/config.h"

namespace mora {

struct Objective {
  Task task = Task::classification;
  std::vector<float> class_weights;  // classification, by class; empty: all 1

  // What the total is divided by for a mean: labelled rows, their class weights, or labelled tokens.
  double weight(const PackedBatch& batch) const;
  // causal_lm: the cross-entropy of each token's next one, (N); 0 where that is not trained.
  Tensor next_token_losses(const MoRAModel& model, const PackedBatch& batch, Context& context) const;
  // Σ of the losses: cross-entropy of rows, squared errors, or cross-entropy of labelled tokens; a scalar.
  Tensor total(const MoRAModel& model, const PackedBatch& batch, Context& context) const;
  // The same from outputs already computed: logits (B, classes) of classification or regression.
  Tensor total_of(const Tensor& logits, const PackedBatch& batch) const;
};

// Token n of a packed batch is asked for the token after it: labels (N), kIgnoredLabel at the end of each sequence and
// where the next token is not trained.
std::vector<int32_t> next_token_labels(const PackedBatch& batch);

}  // namespace mora
