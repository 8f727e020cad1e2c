// mora eval: metrics of a model and its adapter on a data file.
#include <nlohmann/json.hpp>
#include <optional>

#include "loaders/durable_file.h"
#include "mora/training/evaluate.h"
#include "mora/training/routing_metrics.h"
#include "tools/labelled_rows.h"

namespace mora {
namespace {

struct Arguments {
  LabelledRows rows;
  std::string tokens;
};

// {"row", "place" (in the row, from 0), "id", "loss"}; of a mixture also "active_experts" and "router_entropy", means
// over the layers, of the token before it, from which it was predicted.
std::string line_of(const PredictedToken& token) {
  nlohmann::ordered_json line = {{"row", token.row}, {"place", token.place}, {"id", token.id}, {"loss", token.loss}};
  if (token.is_routed) line.update({{"active_experts", token.experts}, {"router_entropy", token.entropy}});
  return line.dump() + "\n";
}

void run(const Arguments& a, Session& session) {
  const auto [opened, task, data] = open(a.rows, session.device);
  require<ConfigError>(a.tokens.empty() || task == Task::causal_lm, "--tokens: is for --task causal_lm");
  std::optional<DurableFile> tokens;
  TokenVisitor write;
  if (!a.tokens.empty()) {
    tokens.emplace(a.tokens);
    write = [&](const PredictedToken& token) { tokens->write(line_of(token)); };
  }
  const Evaluation evaluation = evaluate(*opened.model, data, task, write);
  if (tokens) tokens->commit();
  const nlohmann::ordered_json routing = routing_metrics(evaluation.routed);
  if (!session.json) {
    fmt::print("rows {}\nloss {:.6f}\n", data.size(), evaluation.loss);
    for (const auto& [name, value] : evaluation.metrics.values) fmt::print("{} {:.6f}\n", name, value);
    if (evaluation.metrics.tokens) fmt::print("tokens {}\n", *evaluation.metrics.tokens);
    for (const auto& [name, value] : routing.items()) fmt::print("{} {:.6f}\n", name, value.get<double>());
  }
  nlohmann::ordered_json result = to_json(evaluation);
  result.update(routing);
  session.print_result(result);
}

}  // namespace

void add_eval(CLI::App& program, Session& session) {
  auto a = std::make_shared<Arguments>();
  a->rows.columns.max_length = 1024;
  CLI::App* command = add_command(
      program, session, "eval", "metrics of a model, with an adapter, on a data file",
      [a, &session] { run(*a, session); }, Devices::all);
  add_options(*command, a->rows);
  command->add_option("--tokens", a->tokens, "causal_lm: writes the loss of each token, and the experts it took")
      ->type_name("FILE.jsonl");
}

}  // namespace mora
