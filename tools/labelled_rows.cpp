#include "tools/labelled_rows.h"

namespace mora {

void add_options(CLI::App& command, LabelledRows& rows) {
  command.add_option("--model", rows.model, "a Hugging Face directory or a .gguf file")->required()->type_name("MODEL");
  command.add_option("--adapter", rows.adapter, "an adapter directory, MoRA's or PEFT's")->type_name("DIR");
  command.add_option("--data", rows.data, ".tsv, .csv or .jsonl")->required()->type_name("FILE");
  command.add_option("--task", rows.task, "classification, regression or causal_lm")
      ->required()
      ->check(CLI::IsMember({"classification", "regression", "causal_lm"}))
      ->type_name("TASK");
  command.add_option("--text", rows.columns.text, "the text's column (default: text)")->type_name("COLUMN");
  command.add_option("--label", rows.columns.label, "the label's column (default: label)")->type_name("COLUMN");
  command
      .add_option("--max-length", rows.columns.max_length,
                  fmt::format("tokens a row is cut to (default: {})", rows.columns.max_length))
      ->check(at_least(1))
      ->type_name("N");
}

OpenedRows open(const LabelledRows& rows, Device device) {
  InferenceModel opened = open_for_inference(rows.model, rows.adapter, device);
  const Task task = parse_task(rows.task);
  DataConfig columns = rows.columns;
  columns.train = {rows.data};
  TaskData data = labelled_data(opened, rows.model, task, columns);
  return {std::move(opened), task, std::move(data)};
}

}  // namespace mora
