// What the commands that train share: signals, and the result as they print it.
#pragma once

#include <atomic>
#include <nlohmann/json_fwd.hpp>

#include "mora/training/trainer.h"
#include "tools/config_arguments.h"

namespace mora {

// From now on the first SIGINT or SIGTERM lets the update in flight end; the second ends the process at once. SIGUSR1
// asks for a checkpoint. What trains reads the signal here.
std::atomic<int>* watch_signals();

// cli.md's fields of `mora train`.
nlohmann::ordered_json to_json(const TrainResult& result);

// Behind a run, whole or stopped: summary.json, {"finished", "result", "environment"}, and report.html.
void finish_run(const TrainResult& result);

// Whether a signal ended the run of `mora COMMAND`: then the user hears how it goes on, and the exit code says so.
bool was_stopped(const TrainResult& result, std::string_view command, const ConfigArguments& config, Session& session);

}  // namespace mora
