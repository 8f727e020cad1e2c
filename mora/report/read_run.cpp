#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/error.h"
#include "loaders/json.h"
#include "loaders/quote.h"
#include "loaders/regular_file.h"
#include "mora/report/report.h"

namespace mora {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr size_t kHardest = 20;
constexpr size_t kMaxConfig = size_t{16} << 20;  // bytes

// The objects of a .jsonl file; a last line that a kill cut short is left out.
std::vector<Json> read_lines(const fs::path& file) {
  std::ifstream lines(file, std::ios::binary);
  require<IoError>(lines.good(), "{}: cannot be read; a run directory of mora train has one", file.string());
  std::vector<Json> objects;
  int64_t number = 0;
  for (std::string line; std::getline(lines, line) && !lines.eof();) {
    ++number;
    Json json = Json::parse(line, nullptr, false);
    require<IoError>(json.is_object(), "{}:{}: not a JSON object; the file is damaged", file.string(), number);
    objects.push_back(std::move(json));
  }
  return objects;
}

// Lines of updates as columns: as long as there are lines, null where a line lacks the field.
Json columns_of(const std::vector<Json>& lines) {
  Json columns = Json::object();
  for (size_t row = 0; row < lines.size(); ++row)
    for (const auto& [name, value] : lines[row].items()) {
      Json& column = columns[name];
      while (column.size() < row) column.push_back(nullptr);
      column.push_back(value);
    }
  for (auto& column : columns)
    while (column.size() < lines.size()) column.push_back(nullptr);
  return columns;
}

void sort_metrics(const fs::path& file, Json& run) {
  std::vector<Json> updates;
  run["valid"] = run["events"] = Json::array();
  for (const Json& line : read_lines(file)) {
    require<IoError>(line.contains("step") && line["step"].is_number_integer(), "{}: a line without a step",
                     file.string());
    const char* inner = line.contains("valid") ? "valid" : line.contains("event") ? "event" : nullptr;
    if (inner) {
      require<IoError>(line[inner].is_object(), "{}: step {}: {} is no object", file.string(), line["step"].dump(),
                       inner);
      Json flat = {{"step", line["step"]}};
      flat.update(line[inner]);
      run[inner == std::string_view("valid") ? "valid" : "events"].push_back(std::move(flat));
    } else if (line.contains("loss")) {
      updates.push_back(line);
    }
  }
  run["updates"] = columns_of(updates);
}

double number(const Json& row, const char* key) {
  return row.contains(key) && row[key].is_number() ? row[key].get<double>() : 0.0;
}

// How often the predictions of each range of confidence are right.
Json calibration_of(const std::vector<Json>& rows) {
  constexpr size_t bins = 10;
  struct Bin {
    int64_t rows = 0, right = 0;
    double confidence = 0;
  };
  std::vector<Bin> sums(bins);
  for (const Json& row : rows) {
    if (!row.contains("confidence")) return Json::array();
    const double p = number(row, "confidence");
    Bin& bin = sums[std::min(bins - 1, size_t(std::max(0.0, p) * bins))];
    ++bin.rows;
    bin.right += row["predicted"] == row["truth"];
    bin.confidence += p;
  }
  Json result = Json::array();
  for (size_t i = 0; i < bins; ++i) {
    if (sums[i].rows == 0) continue;
    const auto count = double(sums[i].rows);
    result.push_back({{"from", double(i) / bins},
                      {"to", double(i + 1) / bins},
                      {"rows", sums[i].rows},
                      {"confidence", sums[i].confidence / count},
                      {"accuracy", double(sums[i].right) / count}});
  }
  return result;
}

void add_predictions(const fs::path& file, Json& run) {
  run["calibration"] = run["hardest"] = Json::array();
  if (!fs::exists(file)) return;
  std::vector<Json> rows = read_lines(file);
  run["calibration"] = calibration_of(rows);
  std::ranges::stable_sort(rows, std::greater{}, [](const Json& row) { return number(row, "loss"); });
  rows.resize(std::min(rows.size(), kHardest));
  run["hardest"] = rows;
}

// The labels that the adapter of the run knows, by class.
Json labels_of(const fs::path& run) {
  const fs::path file = run / "adapter" / "mora_config.json";
  if (!fs::exists(file)) return Json::array();
  const nlohmann::json config = read_json(file);
  return config.value("labels", nlohmann::json::array());
}

}  // namespace

Json read_run(const fs::path& run) {
  fs::path name = run.lexically_normal();
  if (name.filename().empty()) name = name.parent_path();
  Json json = {{"name", name.string()}};
  json["command"] = "mora train " + shell_quote((name / "config.yaml").string()) + " " +
                    shell_quote("out=" + name.string() + "-again");
  json["config"] = fs::exists(run / "config.yaml") ? read_regular_file(run / "config.yaml", kMaxConfig) : "";
  json["result"] = json["environment"] = nullptr;
  if (fs::exists(run / "summary.json")) {
    const nlohmann::json summary = read_json(run / "summary.json");
    json["result"] = summary.value("result", nlohmann::json());
    json["environment"] = summary.value("environment", nlohmann::json());
  }
  json["labels"] = labels_of(run);
  sort_metrics(run / "metrics.jsonl", json);
  add_predictions(run / "valid.jsonl", json);
  return json;
}

}  // namespace mora
