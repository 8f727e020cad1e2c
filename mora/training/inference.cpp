#include "mora/training/inference.h"

#include <algorithm>

#include "mora/model_head.h"
#include "mora/models/registry.h"

namespace mora {

InferenceModel open_for_inference(const std::filesystem::path& path, const std::filesystem::path& adapter,
                                  Device device) {
  InferenceModel opened{std::make_unique<MoRAModel>(load_model(path)), {}};
  if (!adapter.empty()) opened.info = load_adapter(adapter, *opened.model);
  if (!opened.model->classifier()) {
    if (auto head = read_model_head(path, opened.model->base()))
      opened.model->set_head(head->pooling, std::move(head->classifier));
  }
  if (opened.info.labels.empty()) opened.info.labels = opened.model->base().config().labels;
  opened.model->to(device);
  return opened;
}

TaskData labelled_data(const InferenceModel& opened, const std::filesystem::path& model, Task task,
                       const DataConfig& columns) {
  const auto& classifier = opened.model->classifier();
  if (task == Task::causal_lm) {
    require<ConfigError>(opened.model->base().lm_head() != nullptr, "--task causal_lm: {} has no language-model head",
                         model.string());
  } else {
    require<ConfigError>(classifier.has_value(), "{}: no trained head; give the adapter that has one with --adapter",
                         model.string());
  }
  TaskDataOptions options{
      .task = task, .files = columns.train, .columns = columns, .labelled = true, .known_labels = opened.info.labels};
  options.columns.max_length = std::min(columns.max_length, opened.model->base().longest_sequence());
  TaskData data(options, model);
  if (task != Task::causal_lm) {
    const int64_t outputs = classifier->weight.dim(0),
                  expected = task == Task::regression ? 1 : int64_t(data.labels().size());
    require<ConfigError>(outputs == expected, "--task {}: the head has {} outputs, the data needs {}", name_of(task),
                         outputs, expected);
  }
  return data;
}

}  // namespace mora
