// From a configuration to what the trainer drives: the model with its adapter and head, and the data.
#pragma once

#include "mora/adapter_directory.h"
#include "mora/training/objective.h"
#include "mora/training/task_data.h"

namespace mora {

struct TrainingData {
  TaskData train, valid;  // valid may be empty
};

// The configuration of one of the tasks on its own; of a run without tasks, the configuration.
Config config_of_task(const Config& config, size_t task);

// The rows of data.train and data.valid (or valid_fraction), tokenized for the model of the configuration, whose
// weights are not read. `labels`: the classes there are; empty: those of adapter.init_from or of the data. Throws
// IoError, ConfigError for files and rows.
TrainingData read_training_data(const Config& config, const std::vector<std::string>& labels = {});

struct TrainingSetup {
  std::unique_ptr<MoRAModel> model;
  AdapterInfo info;
  std::vector<TrainingData> tasks;  // in their order; without tasks, one
  Objective objective;
  int64_t total_parameters = 0;    // frozen and trained
  std::vector<std::string> notes;  // lines about the fresh adapter for who starts a run
};

// Throws ConfigError for a setting that this trainer does not support yet, naming it.
TrainingSetup set_up(const Config& config);

}  // namespace mora
