// mora train: trains as a configuration says and writes the run directory.
#include <nlohmann/json.hpp>

#include "tools/config_arguments.h"
#include "tools/training_run.h"

namespace mora {
namespace {

struct Arguments {
  ConfigArguments config;
  bool resume = false;
};

void run(const Arguments& arguments, Session& session) {
  const Config config = arguments.config.load(session);
  const TrainResult result =
      train(config, {.resume = arguments.resume, .quiet = session.quiet, .signal = watch_signals()});
  finish_run(result);
  if (was_stopped(result, "train", arguments.config, session)) return;
  session.print_result(to_json(result));
  if (!session.json)
    fmt::print("{0}: {1} updates, adapter in {0}/adapter, charts in {0}/report.html\n", result.out, result.steps);
}

}  // namespace

void add_train(CLI::App& program, Session& session) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = add_command(
      program, session, "train", "fine-tune a model as CONFIG says; writes the run directory `out`",
      [arguments, &session] { run(*arguments, session); }, Devices::all);
  add_options(*command, arguments->config);
  command->add_flag("--resume", arguments->resume, "go on from the run's last checkpoint");
}

}  // namespace mora
