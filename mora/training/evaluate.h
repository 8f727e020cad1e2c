// Evaluation of sequence tasks.
#pragma once

#include "mora/mora_model.h"
#include "mora/training/metrics.h"
#include "mora/training/sequence_data.h"

namespace mora {

struct Evaluation {
  double loss = 0;  // mean over the rows: cross-entropy, or mean squared error
  MetricReport metrics;
  std::vector<float> outputs;  // (rows, classes): logits, in the order of the rows
  int64_t tokens = 0;
};

// Runs the model over all rows without recording. `task` says what the outputs mean; without labels (`scored` false)
// only outputs are filled.
Evaluation evaluate(const MoRAModel& model, const SequenceData& data, Task task, bool scored = true);

// The loss of each row, (B): cross-entropy with the labels, or (output − target)².  logits (B, classes)
Tensor row_losses(const Tensor& logits, const PackedBatch& batch, Task task);

// softmax of one row of logits.
std::vector<double> probabilities(std::span<const float> logits);

}  // namespace mora
