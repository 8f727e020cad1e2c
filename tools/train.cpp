// mora train: trains as a configuration says and writes the run directory.
#include <csignal>
#include <nlohmann/json.hpp>

#include "mora/training/process_memory.h"
#include "mora/training/trainer.h"
#include "tools/command.h"

namespace mora {
namespace {

std::atomic<int> pending_signal{0};

// The first SIGINT or SIGTERM lets the update in flight end and writes a checkpoint; the second ends the process at
// once.
void on_signal(int signal) {
  const int before = pending_signal.exchange(signal);
  if (signal != SIGUSR1 && (before == SIGINT || before == SIGTERM)) std::_Exit(128 + signal);
}

struct Arguments {
  std::string config;
  std::vector<std::string> overrides;
  bool resume = false;
};

void run(const Arguments& arguments, Session& session) {
  const Config config = load_config(arguments.config, arguments.overrides);
  for (int signal : {SIGINT, SIGTERM, SIGUSR1}) std::signal(signal, on_signal);
  const TrainResult result =
      train(config, {.resume = arguments.resume, .quiet = session.quiet, .signal = &pending_signal});
  if (result.stopped_by) {
    std::string command = "mora train " + arguments.config;
    for (const std::string& word : arguments.overrides) command += " '" + word + "'";
    session.note(fmt::format("stopped after update {}; go on with: {} --resume", result.steps, command));
    session.exit_code = 128 + result.stopped_by;
    return;
  }
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
  session.print_result(json);
  if (!session.json) fmt::print("{}: {} updates, adapter in {}/adapter\n", result.out, result.steps, result.out);
}

}  // namespace

void add_train(CLI::App& program, Session& session) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command =
      add_command(program, session, "train", "fine-tune a model as CONFIG says; writes the run directory `out`",
                  [arguments, &session] { run(*arguments, session); });
  command->add_option("config", arguments->config, "the configuration, YAML")->required()->type_name("CONFIG.yaml");
  command->add_option("overrides", arguments->overrides, "settings that win over the file's, as optimizer.lr=1e-4")
      ->type_name("KEY=VALUE");
  command->add_flag("--resume", arguments->resume, "go on from the run's last checkpoint");
}

}  // namespace mora
