#include "tools/run_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "mora/training/metrics.h"

namespace mora {
namespace {

using Json = nlohmann::ordered_json;

// The best value of a metric over the evaluations of a run; null where none has it.
Json best_of(const Json& run, const std::string& metric) {
  Json best;
  for (const Json& evaluation : run["valid"]) {
    if (!evaluation.contains(metric) || !evaluation[metric].is_number()) continue;
    const double value = evaluation[metric].get<double>();
    if (best.is_null() || (larger_is_better(metric) ? value > best.get<double>() : value < best.get<double>()))
      best = value;
  }
  return best;
}

Json last_of(const Json& run, const char* column) {
  const Json& updates = run["updates"];
  return updates.contains(column) ? updates[column].back() : Json();
}

std::string cell(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number_integer()) return fmt::format("{}", value.get<int64_t>());
  return value.is_number() ? fmt::format("{:.4f}", value.get<double>()) : "-";
}

}  // namespace

Json summary_of(const Json& run) {
  Json row = {{"run", run["name"]}, {"updates", last_of(run, "step")}, {"seconds", last_of(run, "seconds")}};
  row["train_loss"] = last_of(run, "loss");
  row["valid_loss"] = best_of(run, "loss");
  for (const char* metric : {"accuracy", "f1_macro", "perplexity", "pearson"}) row[metric] = best_of(run, metric);
  return row;
}

void print_table(std::span<const Json> rows) {
  std::vector<std::string> lines(rows.size() + 1);
  for (const auto& [name, unused] : rows.front().items()) {
    if (std::ranges::all_of(rows, [&key = name](const Json& row) { return row[key].is_null(); })) continue;
    std::vector<std::string> cells = {name};
    for (const Json& row : rows) cells.push_back(cell(row[name]));
    size_t width = 0;
    for (const std::string& text : cells) width = std::max(width, text.size());
    const bool is_text = rows.front()[name].is_string();
    for (size_t i = 0; i < cells.size(); ++i)
      lines[i] += is_text ? fmt::format("{:<{}}", cells[i], width) : fmt::format("  {:>{}}", cells[i], width);
  }
  for (const std::string& line : lines) fmt::print("{}\n", line);
}

}  // namespace mora
