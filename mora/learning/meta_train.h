// Meta-training of an adapter and its head over a set of tasks, and adapters for a new task in a few steps.
//
// A run directory of `mora meta-train` has config.yaml, metrics.jsonl and checkpoints/ as any run, adapter/ (θ, an
// adapter as any other), and meta/: meta.json (kind, inner_lr, inner_steps) and for Meta-SGD rates.safetensors.
#pragma once

#include "mora/training/trainer.h"

namespace mora {

// Throws ConfigError for settings that do not go together, IoError for files.
TrainResult meta_train(const Config& config, const TrainOptions& options);

struct AdaptOptions {
  std::string meta;              // the run directory of meta_train
  DataConfig data;               // `train`: the task's few rows, all of which are learnt from
  std::string out;               // adapter/ appears there
  std::optional<int64_t> steps;  // of the inner loop; as meta-trained
  std::optional<double> rate;    // likewise; not for Meta-SGD
  Device device = cpu;
};
TrainResult adapt(const AdaptOptions& options);

}  // namespace mora
