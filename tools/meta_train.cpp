// mora meta-train: learns a start from which a few examples of a new task are enough.
#include <nlohmann/json.hpp>

#include "mora/learning/meta_train.h"
#include "tools/command.h"
#include "tools/training_run.h"

namespace mora {
namespace {

struct Arguments {
  std::string config;
  std::vector<std::string> overrides;
};

void run(const Arguments& a, Session& session) {
  const Config config = load_config(a.config, a.overrides);
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
  command->add_option("config", a->config, "the configuration, with tasks: and meta:")
      ->required()
      ->type_name("CONFIG.yaml");
  command->add_option("overrides", a->overrides, "settings that win over the file's, as meta.kind=reptile")
      ->type_name("KEY=VALUE");
}

}  // namespace mora
