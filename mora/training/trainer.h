// The training loop, and nothing else.
#pragma once

#include <atomic>
#include <filesystem>
#include <string>

#include "mora/training/config.h"
#include "mora/training/continual.h"
#include "mora/training/evaluate.h"
#include "mora/training/run_directory.h"

namespace mora {

struct TrainOptions {
  bool resume = false;
  bool quiet = false;
  // Set by a signal handler: SIGINT or SIGTERM ends the run after the update in flight, with a checkpoint; SIGUSR1
  // writes one and goes on.
  std::atomic<int>* signal = nullptr;
  bool graphs = true;  // on a device: passes of batches like those before are replayed (mora/training/step_graphs.h)

  RunDirectory::Start start() const { return resume ? RunDirectory::Start::resume : RunDirectory::Start::fresh; }
};

struct TrainResult {
  std::string out;
  int64_t steps = 0;
  double epochs = 0;
  double seconds = 0;
  int64_t tokens = 0;
  int64_t replayed = 0;   // batches whose pass was a replay
  double train_loss = 0;  // mean over the updates
  std::optional<Evaluation> valid;
  std::optional<AccuracyMatrix> continual;  // of a continual run that reached its end
  int64_t trainable_parameters = 0, total_parameters = 0;
  int stopped_by = 0;  // the signal that ended the run early, or 0
};

// Trains as `config` says and writes the run directory. Throws ConfigError for settings that do not go together or are
// not there yet, IoError for files, Error when too many updates in a row had to be skipped.
TrainResult train(const Config& config, const TrainOptions& options);

}  // namespace mora
