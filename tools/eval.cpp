// mora eval: metrics of a model and its adapter on a data file.
#include <nlohmann/json.hpp>

#include "mora/training/inference.h"
#include "tools/command.h"
#include "tools/metrics_json.h"

namespace mora {
namespace {

struct Arguments {
  std::string model, adapter, data, task, text = "text", label = "label";
};

void run(const Arguments& a, Session& session) {
  require<ConfigError>(a.task != "causal_lm", "--task causal_lm: not supported by this version of mora eval");
  const InferenceModel opened = open_for_inference(a.model, a.adapter);
  require<ConfigError>(opened.model->classifier().has_value(),
                       "{}: no trained head; give the adapter that has one with --adapter", a.model);
  const Task task = a.task == "regression" ? Task::regression : Task::classification;
  const SequenceData data = read_sequences({.task = task,
                                            .files = {a.data},
                                            .text = a.text,
                                            .label = a.label,
                                            .known_labels = opened.info.labels,
                                            .max_length = opened.max_length()},
                                           opened.tokenizer);
  const int64_t outputs = opened.model->classifier()->weight.dim(0);
  require<ConfigError>(task == Task::regression ? outputs == 1 : outputs == int64_t(data.labels.size()),
                       "--task {}: the head has {} outputs, the data {} labels", a.task, outputs, data.labels.size());
  const Evaluation evaluation = evaluate(*opened.model, data, task);
  if (!session.json) {
    fmt::print("rows {}\nloss {:.6f}\n", data.size(), evaluation.loss);
    for (const auto& [name, value] : evaluation.metrics.values) fmt::print("{} {:.6f}\n", name, value);
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
  command->add_option("--label", a->label, "the label's column (default: label)")->type_name("COLUMN");
}

}  // namespace mora
