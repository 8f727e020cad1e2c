// mora train: trains as a configuration says and writes the run directory.
#include <nlohmann/json.hpp>

#include "tools/command.h"
#include "tools/training_run.h"

namespace mora {
namespace {

struct Arguments {
  std::string config;
  std::vector<std::string> overrides;
  bool resume = false;
};

void run(const Arguments& arguments, Session& session) {
  const Config config = load_config(arguments.config, arguments.overrides);
  const TrainResult result =
      train(config, {.resume = arguments.resume, .quiet = session.quiet, .signal = watch_signals()});
  if (result.stopped_by) {
    std::string command = "mora train " + arguments.config;
    for (const std::string& word : arguments.overrides) command += " '" + word + "'";
    session.note(fmt::format("stopped after update {}; go on with: {} --resume", result.steps, command));
    session.exit_code = 128 + result.stopped_by;
    return;
  }
  session.print_result(to_json(result));
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
