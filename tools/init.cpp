// mora init: a first configuration, made by looking at the model, the data and the machine.
#include <nlohmann/json.hpp>

#include "engine/error.h"
#include "loaders/durable_file.h"
#include "loaders/quote.h"
#include "mora/training/first_config.h"
#include "mora/training/process_memory.h"
#include "tools/command.h"

namespace mora {
namespace {

struct Arguments {
  FirstConfigOptions options;
  std::string task, text, label, out;
  bool force = false;
};

// .cache/data/reviews.train.tsv → reviews
std::string name_of_data(const std::string& data) {
  const std::string name = std::filesystem::path(data).filename().string();
  const std::string stem = name.substr(0, name.find('.'));
  return stem.empty() || stem.find_first_of("*?[") != std::string::npos ? "run" : stem;
}

void run(Arguments& a, Session& session) {
  FirstConfigOptions& o = a.options;
  if (a.out.empty()) a.out = name_of_data(o.data) + ".yaml";
  o.file = a.out;
  require<ConfigError>(a.force || !std::filesystem::exists(a.out), "{}: is there already; --force writes over it",
                       a.out);
  if (!a.task.empty()) o.hints.task = parse_task(a.task);
  if (!a.text.empty()) o.hints.text = a.text;
  if (!a.label.empty()) o.hints.label = a.label;
  constexpr double share = 0.8;  // something else may want memory while the run goes on
  o.memory_bytes = int64_t(share * double(available_bytes()));
  const FirstConfig made = make_first_config(o);
  write_durable(a.out, made.text);
  if (!session.json) fmt::print("{}", made.text);
  if (o.memory_bytes > 0 && made.peak_bytes > o.memory_bytes)
    session.note(fmt::format("warning: a run needs about {:.1f} GB, of which {:.1f} are free here",
                             double(made.peak_bytes) / 1e9, double(available_bytes()) / 1e9));
  session.note(fmt::format("written to {}; next: mora preview {}", a.out, shell_quote(a.out)));
  session.print_result({{"path", a.out}, {"task", name_of(made.config.task)}, {"peak_bytes", made.peak_bytes}});
}

}  // namespace

void add_init(CLI::App& program, Session& session) {
  auto a = std::make_shared<Arguments>();
  CLI::App* command =
      add_command(program, session, "init", "write a first configuration, by looking at the model and the data",
                  [a, &session] { run(*a, session); });
  command->add_option("model", a->options.model, "a Hugging Face directory or a .gguf file")
      ->required()
      ->type_name("MODEL");
  command->add_option("data", a->options.data, "the rows to learn from: .tsv .csv .jsonl .txt")
      ->required()
      ->type_name("DATA");
  command
      ->add_option("--valid", a->options.valid,
                   "rows to validate on (default: the file beside DATA that is called so, else a tenth of DATA)")
      ->type_name("FILE");
  command->add_option("--task", a->task, "classification, regression or causal_lm (default: as the columns say)")
      ->check(CLI::IsMember({"classification", "regression", "causal_lm"}))
      ->type_name("TASK");
  command->add_option("--text", a->text, "the column of the text")->type_name("COLUMN");
  command->add_option("--label", a->label, "the column of the label, or of the number")->type_name("COLUMN");
  command->add_option("--out", a->out, "the configuration's file (default: DATA's name with .yaml, here)")
      ->type_name("FILE.yaml");
  command->add_flag("--force", a->force, "write over a file that is there");
}

}  // namespace mora
