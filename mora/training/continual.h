// A continual run: tasks one after the other, and what protects the earlier ones (continual.kind).
//
//   sequential   nothing
//   ewc          a quadratic penalty around what earlier tasks ended at    mora/training/elastic_weights.h
//   olora        an update a task, orthogonal to the earlier ones          mora/training/orthogonal_updates.h
//   replay       rows of earlier tasks beside the new ones: a reservoir
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "mora/training/elastic_weights.h"
#include "mora/training/orthogonal_updates.h"
#include "mora/training/setup.h"

namespace mora {

// What was measured: rows[i][j] is the validation accuracy on task j after task i was learned.
struct AccuracyMatrix {
  std::vector<std::string> tasks;
  std::vector<std::vector<double>> rows;

  double average() const;            // AA = 1/T Σ_j a(T, j), over all tasks, T the last learned
  double backward_transfer() const;  // BWT = 1/(T − 1) Σ_{j<T} a(T, j) − a(j, j); 0 for one task
};

// {"tasks": […], "accuracy": [[…]], "average_accuracy": …, "backward_transfer": …}
nlohmann::ordered_json to_json(const AccuracyMatrix& matrix);

// A row of a task.
struct TaskRow {
  int64_t task = 0, row = 0;
  bool operator==(const TaskRow&) const = default;
};

// A uniform sample of at most `capacity` of all rows of tasks with so many rows: Vitter 1985, algorithm R. A pure
// function of its arguments, so that nothing is saved.
std::vector<TaskRow> reservoir(std::span<const int64_t> rows_of_tasks, int64_t capacity, uint64_t seed);

// What the trainer asks in each task. Without `continual` in the configuration it does nothing.
class ContinualPlan {
 public:
  // Throws ConfigError where the adapter does not go with the kind. Model and setup outlive it.
  ContinualPlan(const Config& config, TrainingSetup& setup);

  // Before the first update of a task after the first: the model may get other parameters.
  void begin_task(int64_t task);
  // The task whose updates come, and the optimizer's parameters: after begin_task, and after a resume.
  void enter_task(int64_t task, std::span<const Parameter> parameters);
  // After the last update of the task.
  void end_task(int64_t task, std::span<const Parameter> parameters);

  // Replay: a batch of as many rows of earlier tasks as the update has new ones, a function of the update's number.
  std::optional<PackedBatch> rehearsal(int64_t rows, int64_t update) const;
  // What is added to the mean loss, a scalar; undefined where it is nothing.
  Tensor penalty(std::span<const Parameter> parameters) const;
  void mask(Tensors& gradients) const {
    if (orthogonal_) orthogonal_->mask(gradients);
  }
  void after_update() {
    if (orthogonal_) orthogonal_->after_update();
  }

  // For checkpoints.
  std::vector<NamedTensor> state(std::span<const Parameter> parameters) const;
  void load_state(std::span<const Parameter> parameters, std::span<const NamedTensor> saved);

 private:
  TrainingSetup& setup_;
  uint64_t seed_;
  std::optional<ElasticWeights> elastic_;
  std::optional<OrthogonalUpdates> orthogonal_;
  int64_t buffer_ = 0;         // replay: rows kept
  std::vector<TaskRow> kept_;  // of earlier tasks
};

}  // namespace mora
