// What meta-training and adaptation share: the model's trained tensors as values that can be exchanged, and tasks of
// few rows.
#pragma once

#include <string>
#include <vector>

#include "mora/training/objective.h"
#include "mora/training/task_data.h"

namespace mora {

// The trained tensors of a model, in its order.
class TrainedTensors {
 public:
  explicit TrainedTensors(MoRAModel& model);

  const std::vector<std::string>& names() const { return names_; }
  Tensors values() const;
  // By parameter: whether it belongs to the classifier.
  std::vector<bool> is_head() const;

  // The mean loss of the batch with `values` in place of the model's own, which come back. Without dropout.
  Tensor loss(const Objective& objective, const PackedBatch& batch, std::span<const Tensor> values) const;

 private:
  MoRAModel& model_;
  std::vector<std::string> names_;
  std::vector<Tensor*> slots_;
};

// Rows of a task, drawn anew for each episode.
class FewShotTask {
 public:
  // Throws ConfigError where a label has fewer than shots + queries rows.
  FewShotTask(std::string name, TaskData data, int64_t shots, int64_t queries);

  struct Episode {
    PackedBatch support, query;
  };
  // A pure function of the key. Classification: `shots` rows of each label to learn from and `queries` to be judged by;
  // regression: as many in all. `permute`: the labels change places, the same way in both.
  Episode episode(RandomKey key, bool permute) const;

  const TaskData& data() const { return data_; }

 private:
  std::string name_;
  TaskData data_;
  int64_t shots_, queries_;
  std::vector<std::vector<int64_t>> rows_;  // by label
};

}  // namespace mora
