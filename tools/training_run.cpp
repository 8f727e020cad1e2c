#include "tools/training_run.h"

#include <csignal>
#include <nlohmann/json.hpp>

#include "loaders/durable_file.h"
#include "mora/report/report.h"
#include "mora/training/process_memory.h"
#include "tools/machine.h"

namespace mora {
namespace {

std::atomic<int> pending_signal{0};
std::atomic<bool> ending{false};  // stays: the trainer takes the pending signal, and a checkpoint may take long

void on_signal(int signal) {
  if (signal != SIGUSR1 && ending.exchange(true)) std::_Exit(128 + signal);
  if (signal != SIGUSR1 || !ending) pending_signal = signal;  // the end that was asked for writes a checkpoint too
}

}  // namespace

std::atomic<int>* watch_signals() {
  for (int signal : {SIGINT, SIGTERM, SIGUSR1}) std::signal(signal, on_signal);
  return &pending_signal;
}

nlohmann::ordered_json to_json(const TrainResult& result) {
  nlohmann::ordered_json json = {{"out", result.out},
                                 {"steps", result.steps},
                                 {"epochs", result.epochs},
                                 {"seconds", result.seconds},
                                 {"tokens", result.tokens},
                                 {"tokens_per_second", double(result.tokens) / std::max(1e-9, result.seconds)},
                                 {"train_loss", result.train_loss},
                                 {"valid", result.valid ? to_json(*result.valid) : nlohmann::ordered_json()},
                                 {"trainable_parameters", result.trainable_parameters},
                                 {"total_parameters", result.total_parameters},
                                 {"peak_memory_bytes", peak_resident_bytes()}};
  if (result.continual) json["continual"] = to_json(*result.continual);
  return json;
}

void finish_run(const TrainResult& result) {
  const std::filesystem::path out = result.out;
  const nlohmann::ordered_json summary = {
      {"finished", result.stopped_by == 0}, {"result", to_json(result)}, {"environment", describe_machine()}};
  write_durable(out / "summary.json",
                summary.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
  write_report(out);
}

bool was_stopped(const TrainResult& result, std::string_view command, const ConfigArguments& config, Session& session) {
  if (result.stopped_by == 0) return false;
  session.note(
      fmt::format("stopped after update {}; go on with: mora {} {} --resume", result.steps, command, config.words()));
  session.exit_code = 128 + result.stopped_by;
  return true;
}

}  // namespace mora
