// mora eval: metrics of a model and its adapter on a data file.
#include <nlohmann/json.hpp>

#include "mora/training/evaluate.h"
#include "tools/labelled_rows.h"

namespace mora {
namespace {

void run(const LabelledRows& rows, Session& session) {
  const auto [opened, task, data] = open(rows);
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
  auto rows = std::make_shared<LabelledRows>();
  rows->columns.max_length = 1024;
  CLI::App* command = add_command(program, session, "eval", "metrics of a model, with an adapter, on a data file",
                                  [rows, &session] { run(*rows, session); });
  add_options(*command, *rows);
}

}  // namespace mora
