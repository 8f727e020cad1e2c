// What the commands that train share: signals, and the result as they print it.
#pragma once

#include <atomic>
#include <nlohmann/json_fwd.hpp>

#include "mora/training/trainer.h"

namespace mora {

// From now on the first SIGINT or SIGTERM lets the update in flight end; the second ends the process at once. SIGUSR1
// asks for a checkpoint. What trains reads the signal here.
std::atomic<int>* watch_signals();

// cli.md's fields of `mora train`.
nlohmann::ordered_json to_json(const TrainResult& result);

// Behind a run, whole or stopped: summary.json, {"finished", "result", "environment"}, and report.html.
void finish_run(const TrainResult& result);

}  // namespace mora
