#include "mora/training/continual.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace mora {
namespace {

constexpr double kElasticWeight = 1000, kOrthogonalWeight = 0.5;  // where continual.weight is null
constexpr int64_t kFisherRows = 256;                              // of a task, spread over it

}  // namespace

double AccuracyMatrix::average() const {
  double total = 0;
  for (double a : rows.back()) total += a;
  return total / double(rows.back().size());
}

double AccuracyMatrix::backward_transfer() const {
  const size_t last = rows.size() - 1;
  double total = 0;
  for (size_t j = 0; j < last; ++j) total += rows[last][j] - rows[j][j];
  return last == 0 ? 0 : total / double(last);
}

nlohmann::ordered_json to_json(const AccuracyMatrix& matrix) {
  return {{"tasks", matrix.tasks},
          {"accuracy", matrix.rows},
          {"average_accuracy", matrix.average()},
          {"backward_transfer", matrix.backward_transfer()}};
}

std::vector<TaskRow> reservoir(std::span<const int64_t> rows_of_tasks, int64_t capacity, uint64_t seed) {
  const RandomStream stream({.seed = seed, .purpose = Purpose::replay});
  std::vector<TaskRow> kept;
  uint64_t seen = 0;
  for (size_t task = 0; task < rows_of_tasks.size(); ++task) {
    for (int64_t row = 0; row < rows_of_tasks[task]; ++row, ++seen) {
      const TaskRow item{.task = int64_t(task), .row = row};
      if (std::ssize(kept) < capacity) {
        kept.push_back(item);
      } else if (const uint64_t place = stream.below(seen, seen + 1); place < uint64_t(capacity)) {
        kept[place] = item;
      }
    }
  }
  return kept;
}

ContinualPlan::ContinualPlan(const Config& config, TrainingSetup& setup)
    : setup_(setup), seed_(uint64_t(config.train.seed)) {
  if (!config.continual) return;
  const ContinualConfig& c = *config.continual;
  if (c.kind == "ewc") elastic_.emplace(c.weight.value_or(kElasticWeight));
  if (c.kind == "olora") orthogonal_.emplace(*setup.model, c.weight.value_or(kOrthogonalWeight), seed_);
  if (c.kind == "replay") buffer_ = c.buffer;
}

void ContinualPlan::begin_task(int64_t task) {
  if (orthogonal_) orthogonal_->begin_task(task);
}

void ContinualPlan::enter_task(int64_t task, std::span<const Parameter> parameters) {
  if (orthogonal_) orthogonal_->protect(parameters);
  if (buffer_ == 0) return;
  std::vector<int64_t> rows;
  for (int64_t i = 0; i < task; ++i) rows.push_back(setup_.tasks[size_t(i)].train.size());
  kept_ = reservoir(rows, buffer_, seed_);
}

void ContinualPlan::end_task(int64_t task, std::span<const Parameter> parameters) {
  if (!elastic_) return;
  const TaskData& data = setup_.tasks[size_t(task)].train;
  const int64_t rows = std::min(kFisherRows, data.size());
  Tensors leaves;
  for (const Parameter& p : parameters) leaves.push_back(p.value);
  auto gradients_of = [&](int64_t i) {
    const int64_t row = i * data.size() / rows;
    Context context;
    return grad(setup_.objective.total(*setup_.model, data.batch(std::span(&row, 1)), context), leaves);
  };
  elastic_->consolidate(parameters, rows, gradients_of);
}

std::optional<PackedBatch> ContinualPlan::rehearsal(int64_t rows, int64_t update) const {
  if (kept_.empty()) return {};
  const RandomStream stream({.seed = seed_, .step = uint64_t(update), .purpose = Purpose::replay});
  std::vector<Example> examples;
  std::vector<int64_t> numbers;
  for (int64_t i = 0; i < std::min(rows, std::ssize(kept_)); ++i) {
    const TaskRow& drawn = kept_[stream.below(uint64_t(i), kept_.size())];
    examples.push_back(setup_.tasks[size_t(drawn.task)].train.example(drawn.row));
    numbers.push_back(drawn.row);
  }
  std::vector<const Example*> pointers;
  for (const Example& e : examples) pointers.push_back(&e);
  return pack(pointers, numbers);
}

Tensor ContinualPlan::penalty(std::span<const Parameter> parameters) const {
  return elastic_ ? elastic_->penalty(parameters) : orthogonal_ ? orthogonal_->penalty() : Tensor();
}

std::vector<NamedTensor> ContinualPlan::state(std::span<const Parameter> parameters) const {
  return elastic_ ? elastic_->state(parameters) : std::vector<NamedTensor>{};
}

void ContinualPlan::load_state(std::span<const Parameter> parameters, std::span<const NamedTensor> saved) {
  if (elastic_) elastic_->load_state(parameters, saved);
}

}  // namespace mora
