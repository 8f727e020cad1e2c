// mora meta-train: learns a start from which a few examples of a new task are enough.
#include <nlohmann/json.hpp>

#include "mora/learning/meta_train.h"
#include "tools/config_arguments.h"
#include "tools/training_run.h"

namespace mora {
namespace {

struct Arguments {
  ConfigArguments config;
  bool resume = false;
};

void run(const Arguments& a, Session& session) {
  const Config config = a.config.load(session);
  const TrainResult result =
      meta_train(config, {.resume = a.resume, .quiet = session.quiet, .signal = watch_signals()});
  finish_run(result);
  if (was_stopped(result, "meta-train", a.config, session)) return;
  session.print_result(to_json(result));
  if (!session.json)
    fmt::print("{0}: {1} meta-updates; adapt it with: mora adapt --meta {0} --data FILE --out DIR\n", result.out,
               result.steps);
}

}  // namespace

void add_meta_train(CLI::App& program, Session& session) {
  auto a = std::make_shared<Arguments>();
  CLI::App* command = add_command(
      program, session, "meta-train", "learn a start from which few examples of a new task are enough; writes `out`",
      [a, &session] { run(*a, session); }, Devices::all);
  add_options(*command, a->config);
  command->add_flag("--resume", a->resume, "go on from the run's last checkpoint");
}

}  // namespace mora
