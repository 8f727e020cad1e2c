// mora meta-train: learns a start from which a few examples of a new task are enough.
#include <nlohmann/json.hpp>

#include "mora/learning/meta_train.h"
#include "tools/config_arguments.h"
#include "tools/training_run.h"

namespace mora {
namespace {

struct Arguments {
  ConfigArguments config;
};

void run(const Arguments& a, Session& session) {
  const Config config = a.config.load();
  const TrainResult result = meta_train(config, {.quiet = session.quiet, .signal = watch_signals()});
  if (result.stopped_by) session.exit_code = 128 + result.stopped_by;
  session.print_result(to_json(result));
  if (!session.json)
    fmt::print("{0}: {1} meta-updates; adapt it with: mora adapt --meta {0} --data FILE --out DIR\n", result.out,
               result.steps);
}

}  // namespace

void add_meta_train(CLI::App& program, Session& session) {
  auto a = std::make_shared<Arguments>();
  CLI::App* command = add_command(program, session, "meta-train",
                                  "learn a start from which few examples of a new task are enough; writes `out`",
                                  [a, &session] { run(*a, session); });
  add_options(*command, a->config);
}

}  // namespace mora
