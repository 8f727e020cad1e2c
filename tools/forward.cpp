// mora forward: hidden states, embeddings or logits of each row, as tensors.
#include <nlohmann/json.hpp>

#include "autograd/ops/shape.h"
#include "loaders/safetensors.h"
#include "mora/training/inference.h"
#include "mora/training/task_data.h"
#include "tools/command.h"

namespace mora {
namespace {

struct Arguments {
  std::string model, adapter, data, text = "text", what, out;
};

Tensor row_output(const MoRAModel& model, const Sequences& sequences, const std::string& what, Pooling pooling) {
  Context context;
  if (what == "logits" && model.classifier()) return reshape(model.logits(sequences, context), {-1});
  if (what == "embedding") return reshape(model.base().pooled(sequences, pooling, context), {-1});
  const Tensor hidden = model.base().hidden_states(sequences, context);       // (T, d)
  return what == "logits" ? linear(hidden, model.base().lm_head()) : hidden;  // (T, vocabulary)
}

void run(const Arguments& a, Session& session) {
  const InferenceModel opened = open_for_inference(a.model, a.adapter, session.device);
  const MoRAModel& model = *opened.model;
  require<ConfigError>(a.what != "logits" || model.classifier() || model.base().lm_head(),
                       "--what logits: no trained head; give the adapter that has one with --adapter");
  Pooling pooling = model.pooling();
  if (a.what == "embedding" && !model.classifier()) pooling = resolve_pooling("auto", model.base(), a.model);
  TaskDataOptions options{
      .task = Task::classification, .files = {a.data}, .columns = {}, .labelled = false, .known_labels = {}};
  options.columns.text = a.text;
  options.columns.max_length = opened.model->base().longest_sequence();
  const TaskData data(options, a.model);
  const NoGrad no_grad;
  std::map<std::string, Tensor> outputs;
  for (int64_t r = 0; r < data.size(); ++r) {
    outputs[std::to_string(r)] = row_output(model, to_sequences(data.batch(std::span(&r, 1))), a.what, pooling);
  }
  write_safetensors(a.out, outputs);
  session.note(fmt::format("{} tensors in {}", data.size(), a.out));
  session.print_result({{"rows", data.size()}});
}

}  // namespace

void add_forward(CLI::App& program, Session& session) {
  auto a = std::make_shared<Arguments>();
  CLI::App* command = add_command(
      program, session, "forward", "hidden states, embeddings or logits of each row, written as safetensors",
      [a, &session] { run(*a, session); }, Devices::all);
  command->add_option("--model", a->model, "a Hugging Face directory")->required()->type_name("MODEL");
  command->add_option("--adapter", a->adapter, "an adapter directory")->type_name("DIR");
  command->add_option("--data", a->data, ".jsonl, .tsv, .csv or .txt")->required()->type_name("FILE");
  command->add_option("--text", a->text, "the text's column (default: text)")->type_name("COLUMN");
  command->add_option("--what", a->what, "logits, hidden or embedding")
      ->required()
      ->check(CLI::IsMember({"logits", "hidden", "embedding"}))
      ->type_name("WHAT");
  command->add_option("--out", a->out, "row i becomes tensor \"i\"")->required()->type_name("FILE.safetensors");
}

}  // namespace mora
