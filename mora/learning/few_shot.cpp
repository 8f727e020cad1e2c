#include "mora/learning/few_shot.h"

#include <algorithm>
#include <numeric>

#include "autograd/ops/arithmetic.h"
#include "engine/random.h"

namespace mora {
namespace {

// Other tensors in the place of a model's own for a scope.
class Exchanged {
 public:
  Exchanged(const std::vector<Tensor*>& slots, std::span<const Tensor> values) : slots_(slots) {
    for (size_t i = 0; i < slots_.size(); ++i) {
      own_.push_back(*slots_[i]);
      *slots_[i] = values[i];
    }
  }
  ~Exchanged() {
    for (size_t i = 0; i < slots_.size(); ++i) *slots_[i] = own_[i];
  }
  Exchanged(const Exchanged&) = delete;
  Exchanged& operator=(const Exchanged&) = delete;

 private:
  const std::vector<Tensor*>& slots_;
  Tensors own_;
};

// The first `count` of a permutation of `items`, by Fisher and Yates; `at` counts the numbers that were drawn.
std::vector<int64_t> drawn(std::vector<int64_t> items, int64_t count, const RandomStream& stream, uint64_t& at) {
  for (size_t i = 0; i < size_t(count); ++i)
    std::swap(items[i], items[i + size_t(stream.below(at++, items.size() - i))]);
  items.resize(size_t(count));
  return items;
}

}  // namespace

TrainedTensors::TrainedTensors(MoRAModel& model) : model_(model) {
  model.visit_parameters([&](const std::string& name, Tensor& value) {
    names_.push_back(name);
    slots_.push_back(&value);
  });
}

Tensors TrainedTensors::values() const {
  Tensors result;
  for (const Tensor* slot : slots_) result.push_back(*slot);
  return result;
}

std::vector<bool> TrainedTensors::is_head() const {
  std::vector<bool> result;
  for (const std::string& name : names_) result.push_back(name.starts_with("classifier."));
  return result;
}

Tensor TrainedTensors::loss(const Objective& objective, const PackedBatch& batch,
                            std::span<const Tensor> values) const {
  const Exchanged exchanged(slots_, values);
  Context context;
  return objective.total(model_, batch, context) / std::max(1.0, objective.weight(batch));
}

FewShotTask::FewShotTask(std::string name, TaskData data, int64_t shots, int64_t queries)
    : name_(std::move(name)), data_(std::move(data)), shots_(shots), queries_(queries) {
  rows_.resize(std::max<size_t>(1, data_.labels().size()));
  for (int64_t i = 0; i < data_.size(); ++i) rows_[size_t(data_.example(i).label)].push_back(i);
  for (size_t label = 0; label < rows_.size(); ++label)
    require<ConfigError>(int64_t(rows_[label].size()) >= shots_ + queries_,
                         "tasks: '{}': {} rows{}; meta.shots {} and meta.queries {} need {}", name_,
                         rows_[label].size(), data_.labels().empty() ? "" : " of label '" + data_.labels()[label] + "'",
                         shots_, queries_, shots_ + queries_);
}

FewShotTask::Episode FewShotTask::episode(RandomKey key, bool permute) const {
  key.purpose = Purpose::meta;
  const RandomStream stream(key);
  uint64_t at = 0;
  std::vector<int64_t> support, query;
  for (const std::vector<int64_t>& rows : rows_) {
    const std::vector<int64_t> chosen = drawn(rows, shots_ + queries_, stream, at);
    support.insert(support.end(), chosen.begin(), chosen.begin() + shots_);
    query.insert(query.end(), chosen.begin() + shots_, chosen.end());
  }
  Episode episode{data_.batch(support), data_.batch(query)};
  if (!permute) return episode;
  std::vector<int64_t> places(rows_.size());
  std::iota(places.begin(), places.end(), 0);
  places = drawn(places, int64_t(places.size()), stream, at);
  for (PackedBatch* batch : {&episode.support, &episode.query})
    for (int32_t& label : batch->labels) label = int32_t(places[size_t(label)]);
  return episode;
}

}  // namespace mora
