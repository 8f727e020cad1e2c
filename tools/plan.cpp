// mora plan: the memory and time of a run, before it starts.
#include <nlohmann/json.hpp>

#include "mora/training/memory_plan.h"
#include "tools/config_arguments.h"

namespace mora {
namespace {

struct Arguments {
  ConfigArguments config;
  bool measure = true;
};

void run(const Arguments& a, Session& session) {
  const MemoryPlan plan = plan_memory(a.config.load(), a.measure);
  if (!session.json) {
    auto line = [](const char* what, int64_t bytes) { fmt::print("{:<36}{:>10.1f} MB\n", what, double(bytes) / 1e6); };
    line("frozen weights, packed copies", plan.weights_bytes);
    line("trained parameters", plan.adapter_bytes);
    line("gradients and optimizer", plan.optimizer_bytes);
    line("activations of the longest batch", plan.activation_bytes);
    line("peak of the process", plan.peak_bytes);
    fmt::print("{:<36}{:>10}\n", "updates", plan.steps);
    if (plan.seconds_per_step)
      fmt::print("{:<36}{:>10.2f} s, {:.0f} s in all without evaluation\n", "an update", *plan.seconds_per_step,
                 *plan.seconds_per_step * double(plan.steps));
  }
  session.print_result({{"weights_bytes", plan.weights_bytes},
                        {"adapter_bytes", plan.adapter_bytes},
                        {"optimizer_bytes", plan.optimizer_bytes},
                        {"activation_bytes", plan.activation_bytes},
                        {"peak_bytes", plan.peak_bytes},
                        {"seconds_per_step", plan.seconds_per_step ? nlohmann::ordered_json(*plan.seconds_per_step)
                                                                   : nlohmann::ordered_json()},
                        {"steps", plan.steps}});
}

}  // namespace

void add_plan(CLI::App& program, Session& session) {
  auto a = std::make_shared<Arguments>();
  CLI::App* command = add_command(program, session, "plan", "the memory and time of a run, before it starts",
                                  [a, &session] { run(*a, session); });
  add_options(*command, a->config);
  command->add_flag("!--no-measure", a->measure, "estimate from the shapes; do not run the longest batch");
}

}  // namespace mora
