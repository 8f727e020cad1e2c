// A checkpoint: everything a run needs to go on as if it had never stopped.
//
//   checkpoints/step-000200/  mora_config.json  adapter.safetensors  optimizer.safetensors  ranks.safetensors
//                             learning.safetensors  state.json  manifest.json
//
// The trained tensors are a native adapter (mora/adapter_directory.h), since their shapes change with ranks.
// The manifest holds the size and checksum of each file and is written last; the directory appears by a rename.
#pragma once

#include <filesystem>
#include <optional>

#include "mora/adapter_directory.h"
#include "mora/training/loss_guard.h"
#include "mora/training/run_directory.h"
#include "optim/grad_scaler.h"
#include "optim/mora_optimizer.h"

namespace mora {

// Where a run stands. All of it is in state.json.
struct Progression {
  int64_t step = 0;         // updates made
  int64_t epoch = 0;        // the epoch whose batches come next,
  int64_t batch = 0;        // and the next batch in it
  int64_t micro_batch = 0;  // batches seen since the start: what random streams are keyed by
  int64_t tokens = 0;
  double seconds = 0;            // of training, over all processes of the run
  double loss_sum = 0;           // of updates since the start, for train_loss
  int64_t skipped = 0;           // updates skipped in a row
  std::optional<double> best{};  // of the early-stop metric, or the validation loss
  int64_t evaluations_since_best = 0;
  LossHistory losses{};
  std::optional<int64_t> last_rank_event{};  // `applied` when ranks last changed
  int64_t applied = 0;                       // updates of the task that were not skipped: where its schedule stands
  GradScaler scaler{};                       // train.precision: f16
  int64_t task = 0;                          // of a continual run: the one whose updates come next,
  int64_t task_start = 0;                    // the updates made before it,
  std::vector<std::vector<double>> accuracies{};  // and what was measured after those before (AccuracyMatrix::rows)
};

struct Checkpoint {
  Progression progression;
  std::vector<NamedTensor> optimizer, ranks;  // moments; what RankPlan knows
  std::vector<NamedTensor> learning;          // what ContinualPlan knows, or Meta-SGD's rates
  std::string config;                         // resolved YAML of the run that wrote it
  std::string data{};                         // checksum of the lengths of its training rows
};

// With the adapter and head of `model`.
void save_checkpoint(const std::filesystem::path& directory, const Checkpoint& checkpoint, MoRAModel& model,
                     const AdapterInfo& info);
// All but the adapter, which load_adapter reads from the directory. Throws IoError that says what is damaged.
Checkpoint load_checkpoint(const std::filesystem::path& directory);

// Calls load(directory) for the newest checkpoint of the run that it does not throw IoError for; those after it are set
// aside. False where the run has none yet. note(line) hears of both.
bool resume_newest(RunDirectory& run, FunctionRef<void(const std::filesystem::path&)> load,
                   FunctionRef<void(const std::string&)> note);
// Throws ConfigError unless the checkpoint is of `config` and of rows with the checksum `data`.
void check_same_run(const Checkpoint& checkpoint, const Config& config, const std::string& data);

}  // namespace mora
