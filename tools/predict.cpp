// mora predict: the label and scores of each row of a data file.
#include <nlohmann/json.hpp>

#include "loaders/durable_file.h"
#include "mora/training/evaluate.h"
#include "mora/training/inference.h"
#include "tools/command.h"

namespace mora {
namespace {

struct Arguments {
  std::string model, adapter, data, text = "text", out;
};

// {"label": …, "scores": {label: probability}}; a regression gives {"label": number, "scores": {}}.
nlohmann::ordered_json prediction(std::span<const float> outputs, const std::vector<std::string>& labels) {
  if (outputs.size() == 1) return {{"label", outputs[0]}, {"scores", nlohmann::ordered_json::object()}};
  const std::vector<double> p = probabilities(outputs);
  nlohmann::ordered_json scores;
  for (size_t k = 0; k < p.size(); ++k) scores[k < labels.size() ? labels[k] : fmt::format("LABEL_{}", k)] = p[k];
  const auto best = size_t(std::max_element(p.begin(), p.end()) - p.begin());
  return {{"label", best < labels.size() ? labels[best] : fmt::format("LABEL_{}", best)}, {"scores", scores}};
}

void run(const Arguments& a, Session& session) {
  const InferenceModel opened = open_for_inference(a.model, a.adapter, session.device);
  require<ConfigError>(opened.model->classifier().has_value(),
                       "{}: no trained head; give the adapter that has one with --adapter", a.model);
  TaskDataOptions options{
      .task = Task::classification, .files = {a.data}, .columns = {}, .labelled = false, .known_labels = {}};
  options.columns.text = a.text;
  options.columns.max_length = opened.model->base().longest_sequence();
  const TaskData data(options, a.model);
  const std::vector<float> outputs = outputs_of(*opened.model, data);
  const auto width = size_t(opened.model->classifier()->weight.dim(0));
  DurableFile file(a.out);
  for (size_t r = 0; r < size_t(data.size()); ++r) {
    file.write(prediction(std::span(outputs).subspan(r * width, width), opened.info.labels).dump() + "\n");
  }
  file.commit();
  session.note(fmt::format("{} rows in {}", data.size(), a.out));
  session.print_result({{"rows", data.size()}});
}

}  // namespace

void add_predict(CLI::App& program, Session& session) {
  auto a = std::make_shared<Arguments>();
  CLI::App* command = add_command(
      program, session, "predict", "the label and scores of each row of a data file",
      [a, &session] { run(*a, session); }, Devices::all);
  command->add_option("--model", a->model, "a Hugging Face directory")->required()->type_name("MODEL");
  command->add_option("--adapter", a->adapter, "an adapter directory; not needed where the model has a head")
      ->type_name("DIR");
  command->add_option("--data", a->data, ".tsv, .csv, .jsonl or .txt")->required()->type_name("FILE");
  command->add_option("--text", a->text, "the text's column (default: text)")->type_name("COLUMN");
  command->add_option("--out", a->out, "where the predictions go, one JSON object a row")
      ->required()
      ->type_name("FILE.jsonl");
}

}  // namespace mora
