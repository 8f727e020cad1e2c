// mora adapt: from a meta-trained start and a few examples to an adapter.
#include <nlohmann/json.hpp>

#include "mora/learning/meta_train.h"
#include "tools/command.h"
#include "tools/training_run.h"

namespace mora {
namespace {

struct Arguments {
  AdaptOptions options;
  std::string data;
};

void run(Arguments& a, Session& session) {
  a.options.data.train = {a.data};
  a.options.device = session.device;
  const TrainResult result = adapt(a.options);
  session.print_result(to_json(result));
  if (!session.json) fmt::print("{}/adapter: {} updates, loss {:.4f}\n", result.out, result.steps, result.train_loss);
}

}  // namespace

void add_adapt(CLI::App& program, Session& session) {
  auto a = std::make_shared<Arguments>();
  CLI::App* command = add_command(
      program, session, "adapt", "an adapter from a few examples, by what meta-train learned",
      [a, &session] { run(*a, session); }, Devices::all);
  command->add_option("--meta", a->options.meta, "the run directory of mora meta-train")->required()->type_name("DIR");
  command->add_option("--data", a->data, "the examples: .tsv, .csv or .jsonl; all are learned from")
      ->required()
      ->type_name("FILE");
  command->add_option("--out", a->options.out, "a directory: the adapter appears in its adapter/")
      ->required()
      ->type_name("DIR");
  command->add_option("--text", a->options.data.text, "the text's column (default: text)")->type_name("COLUMN");
  command->add_option("--label", a->options.data.label, "the label's column (default: label)")->type_name("COLUMN");
  command->add_option("--max-length", a->options.data.max_length, "tokens a row is cut to (default: 256)")
      ->check(at_least(1))
      ->type_name("N");
  command->add_option("--steps", a->options.steps, "updates (default: meta.inner_steps of the meta-training)")
      ->check(at_least(1))
      ->type_name("N");
  command->add_option("--lr", a->options.rate, "learning rate (default: meta.inner_lr of the meta-training)")
      ->check(above_zero())
      ->type_name("RATE");
}

}  // namespace mora
