// A run directory with checkpoints of a few kilobytes: the golden BERT with a LoRA of rank 1 on one linear.
#pragma once

#include "adapters/adapted_model.h"
#include "loaders/temporary_directory.h"
#include "mora/training/checkpoint.h"

namespace mora::test {

namespace fs = std::filesystem;

inline MoRAModel small_model() {
  MoRAModel model(load_model(golden_models / "bert"));
  AdapterSpec spec;
  spec.kind = AdapterSpec::Kind::lora;
  spec.rank = 1;
  model.add_adapters(spec, std::vector<std::string>{"layer.0.attention.self.query"}, 1);
  randomize(model);
  return model;
}

// The state of update `step`: no two are alike in any file but mora_config.json.
inline Checkpoint state_of(int64_t step) {
  const Tensor moment = Tensor::from(std::vector<float>{float(step), 1, 2, 3}, {4});
  return {.progression = {.step = step},
          .optimizer = {{"m", moment}},
          .ranks = {{"r", moment}},
          .learning = {},
          .config = "out: run\n"};
}

// What Trainer does at a save.
inline void save(RunDirectory& run, int64_t step, MoRAModel& model, int64_t keep) {
  save_checkpoint(run.checkpoint(step), state_of(step), model, {});
  run.remove_old_checkpoints(keep);
}

inline std::map<std::string, std::string> contents(const fs::path& directory) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::directory_iterator(directory)) files[entry.path().filename()] = read_bytes(entry.path());
  return files;
}

}  // namespace mora::test
