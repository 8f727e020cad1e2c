// mora eval: metrics of a model and its adapter on a data file.
#include <nlohmann/json.hpp>

#include "mora/training/evaluate.h"
#include "mora/training/inference.h"
#include "tools/command.h"

namespace mora {
namespace {

struct Arguments {
  std::string model, adapter, data, task, text = "text", label = "label";
  int64_t max_length = 1024;
};

void run(const Arguments& a, Session& session) {
  const InferenceModel opened = open_for_inference(a.model, a.adapter);
  const Task task = parse_task(a.task);
  DataConfig columns;
  columns.train = {a.data};
  columns.text = a.text;
  columns.label = a.label;
  columns.max_length = a.max_length;
  const TaskData data = labelled_data(opened, a.model, task, columns);
  const Evaluation evaluation = evaluate(*opened.model, data, task);
  if (!session.json) {
    fmt::print("rows {}\nloss {:.6f}\n", data.size(), evaluation.loss);
    for (const auto& [name, value] : evaluation.metrics.values) fmt::print("{} {:.6f}\n", name, value);
    if (evaluation.metrics.tokens) fmt::print("tokens {}\n", *evaluation.metrics.tokens);
  }
  session.print_result(to_json(evaluation));
}

}  // namespace

void add_eval(CLI::App& program, Session& session) {
  auto a = std::make_shared<Arguments>();
  CLI::App* command = add_command(program, session, "eval", "metrics of a model, with an adapter, on a data file",
                                  [a, &session] { run(*a, session); });
  command->add_option("--model", a->model, "a Hugging Face directory")->required()->type_name("MODEL");
  command->add_option("--adapter", a->adapter, "an adapter directory, MoRA's or PEFT's")->type_name("DIR");
  command->add_option("--data", a->data, ".tsv, .csv or .jsonl")->required()->type_name("FILE");
  command->add_option("--task", a->task, "classification, regression or causal_lm")
      ->required()
      ->check(CLI::IsMember({"classification", "regression", "causal_lm"}))
      ->type_name("TASK");
  command->add_option("--text", a->text, "the text's column (default: text)")->type_name("COLUMN");
  command->add_option("--max-length", a->max_length, "tokens a row is cut to (default: 1024)")
      ->check(CLI::PositiveNumber)
      ->type_name("N");
  command->add_option("--label", a->label, "the label's column (default: label)")->type_name("COLUMN");
}

}  // namespace mora
