// A trained model as the commands open it: base, adapter, head.
#pragma once

#include "mora/adapter_directory.h"
#include "mora/training/task_data.h"

namespace mora {

struct InferenceModel {
  std::unique_ptr<MoRAModel> model;
  AdapterInfo info;
};

// Opens a model directory, with an adapter where `adapter` is not empty. The head and the labels come from the adapter,
// else from the model (its id2label).
InferenceModel open_for_inference(const std::filesystem::path& model, const std::filesystem::path& adapter,
                                  Device device = cpu);

// The labelled rows of `columns.train` as `opened`, a model of the directory `model`, sees them. Throws ConfigError
// where it has not what the task needs: a head with as many outputs as the data, or a language-model head.
TaskData labelled_data(const InferenceModel& opened, const std::filesystem::path& model, Task task,
                       const DataConfig& columns);

}  // namespace mora
