// What the commands that measure a model on labelled rows share: which model, which rows.
#pragma once

#include "mora/training/inference.h"
#include "tools/command.h"

namespace mora {

struct LabelledRows {
  std::string model, adapter, data, task;
  DataConfig columns;  // of `data`
};

// Declares --model --adapter --data --task --text --label --max-length; the default of the last is that of `rows`.
void add_options(CLI::App& command, LabelledRows& rows);

struct OpenedRows {
  InferenceModel opened;
  Task task;
  TaskData data;
};
OpenedRows open(const LabelledRows& rows, Device device = cpu);

}  // namespace mora
