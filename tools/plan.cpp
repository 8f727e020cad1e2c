// mora plan: the memory and time of a run, before it starts, and what to change where it does not fit.
#include <fmt/ranges.h>

#include <nlohmann/json.hpp>

#include "engine/cuda.h"
#include "mora/training/memory_plan.h"
#include "mora/training/process_memory.h"
#include "tools/config_arguments.h"

namespace mora {
namespace {

struct Arguments {
  ConfigArguments config;
  bool measure = true;
  double gigabytes = 0;  // to fit into; 0: what is free
};

// Settings with which a run fits into `limit` bytes, as words of the command line, and what it then takes; no words:
// there are none.
struct Advice {
  std::vector<std::string> settings;
  int64_t peak_bytes = 0;
};

std::vector<std::string> settings_of(const TrainConfig& train) {
  std::vector<std::string> words;
  if (train.batch_tokens)
    words.push_back(fmt::format("train.batch_tokens={}", *train.batch_tokens));
  else
    words.push_back(fmt::format("train.batch_size={}", *train.batch_size));
  if (train.accumulate > 1) words.push_back(fmt::format("train.accumulate={}", train.accumulate));
  if (train.recompute) words.emplace_back("train.recompute=true");
  if (train.precision != Precision::f32) words.push_back(fmt::format("train.precision={}", name_of(train.precision)));
  return words;
}

Advice advise(Config config, int64_t limit) {
  const int64_t max_length = config_of_task(config, 0).data->max_length;
  while (give_way(config.train, max_length)) {
    const int64_t peak = plan_memory(config, false).peak_bytes;
    if (peak <= limit) return {settings_of(config.train), peak};
  }
  return {};
}

double in_gigabytes(int64_t bytes) { return double(bytes) / 1e9; }

void print_advice(const Advice& advice, int64_t limit) {
  if (advice.settings.empty())
    fmt::print(
        "does not fit into {:.2f} GB, nor with smaller batches, recomputation and bf16: a smaller model, or a smaller "
        "data.max_length\n",
        in_gigabytes(limit));
  else
    fmt::print("does not fit into {:.2f} GB; with {} it takes {:.2f}\n", in_gigabytes(limit),
               fmt::join(advice.settings, " "), in_gigabytes(advice.peak_bytes));
}

void run(const Arguments& a, Session& session) {
  const Config config = a.config.load(session);
  const Device device = cuda::usable_device(config.device, "device:");
  const int64_t limit = a.gigabytes > 0 ? int64_t(a.gigabytes * 1e9)
                        : device == cpu ? available_bytes()  // 0: not known
                                        : cuda::describe(device.index).free_bytes;
  // To measure what does not fit would end in what the plan is there to avoid.
  const MemoryPlan plan = limit > 0 ? plan_memory(config, a.measure, limit) : plan_memory(config, a.measure);
  const bool fits = limit == 0 || plan.peak_bytes <= limit;
  const Advice advice = fits ? Advice{} : advise(config, limit);
  if (!session.json) {
    auto line = [](const char* what, int64_t bytes) { fmt::print("{:<36}{:>10.1f} MB\n", what, double(bytes) / 1e6); };
    line(device == cpu ? "frozen weights, packed copies" : "frozen weights", plan.weights_bytes);
    line("trained parameters", plan.adapter_bytes);
    line("gradients and optimizer", plan.optimizer_bytes);
    line("activations of the longest batch", plan.activation_bytes);
    line(device == cpu ? "peak of the process" : "peak of the card", plan.peak_bytes);
    fmt::print("{:<36}{:>10}\n", "updates", plan.steps);
    if (plan.seconds_per_step)
      fmt::print("{:<36}{:>10.2f} s, {:.0f} s in all without evaluation\n", "an update", *plan.seconds_per_step,
                 *plan.seconds_per_step * double(plan.steps));
    if (!fits) print_advice(advice, limit);
  }
  session.print_result({{"weights_bytes", plan.weights_bytes},
                        {"adapter_bytes", plan.adapter_bytes},
                        {"optimizer_bytes", plan.optimizer_bytes},
                        {"activation_bytes", plan.activation_bytes},
                        {"peak_bytes", plan.peak_bytes},
                        {"seconds_per_step", plan.seconds_per_step ? nlohmann::ordered_json(*plan.seconds_per_step)
                                                                   : nlohmann::ordered_json()},
                        {"steps", plan.steps},
                        {"limit_bytes", limit},
                        {"fits", fits},
                        {"advice", advice.settings}});
}

}  // namespace

void add_plan(CLI::App& program, Session& session) {
  auto a = std::make_shared<Arguments>();
  CLI::App* command = add_command(
      program, session, "plan", "the memory and time of a run, before it starts", [a, &session] { run(*a, session); },
      Devices::all);
  add_options(*command, a->config);
  command->add_flag("!--no-measure", a->measure, "estimate from the shapes; do not run the longest batch");
  command->add_option("--memory", a->gigabytes, "GB that the run has to fit into (default: what is free)")
      ->check(above_zero())
      ->type_name("GB");
}

}  // namespace mora
