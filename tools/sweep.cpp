// mora sweep: a run for each point of a grid of settings, a table and a page of them. Started again, it goes on where
// it was.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cctype>
#include <nlohmann/json.hpp>

#include "engine/error.h"
#include "loaders/json.h"
#include "mora/report/report.h"
#include "tools/config_arguments.h"
#include "tools/run_table.h"
#include "tools/training_run.h"

namespace mora {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

struct Arguments {
  ConfigArguments config;
  std::vector<std::string> grids;
};

// "key=v1,v2" → {"key=v1", "key=v2"}; a comma inside brackets belongs to its value.
std::vector<std::string> settings_of(const std::string& grid) {
  const size_t equals = grid.find('=');
  require<ConfigError>(equals != std::string::npos && equals > 0 && equals + 1 < grid.size(),
                       "--grid {}: write it as --grid optimizer.lr=1e-4,3e-4", grid);
  std::vector<std::string> settings = {grid.substr(0, equals + 1)};
  int depth = 0;
  for (const char c : grid.substr(equals + 1)) {
    depth += (c == '[' || c == '{') - (c == ']' || c == '}');
    if (c == ',' && depth == 0)
      settings.push_back(grid.substr(0, equals + 1));
    else
      settings.back() += c;
  }
  for (const std::string& setting : settings)
    require<ConfigError>(setting.size() > equals + 1, "--grid {}: an empty value between commas", grid);
  return settings;
}

// The points of the grid, the last --grid changing fastest.
std::vector<std::vector<std::string>> points_of(const std::vector<std::string>& grids) {
  std::vector<std::vector<std::string>> points = {{}};
  for (const std::string& grid : grids) {
    std::vector<std::vector<std::string>> longer;
    for (const auto& point : points)
      for (const std::string& setting : settings_of(grid)) {
        longer.push_back(point);
        longer.back().push_back(setting);
      }
    points = std::move(longer);
  }
  return points;
}

// "optimizer.lr=1e-4", "adapter.rank=4" → "lr=1e-4_rank=4", with what a file name should not hold as '-'.
std::string name_of_point(const std::vector<std::string>& point) {
  std::string name;
  for (const std::string& setting : point) {
    const size_t dot = setting.rfind('.', setting.find('='));
    name += (name.empty() ? "" : "_") + setting.substr(dot == std::string::npos ? 0 : dot + 1);
  }
  for (char& c : name)
    if (!std::isalnum(static_cast<unsigned char>(c)) && std::string_view("=_.-+").find(c) == std::string_view::npos)
      c = '-';
  return name;
}

// Whether the run is there, whole. Throws ConfigError where it was made with other settings.
bool is_finished(const Config& config) {
  const fs::path run = config.out;
  if (!fs::exists(run / "summary.json") || !read_json(run / "summary.json").value("finished", false)) return false;
  require<ConfigError>(load_config(run / "config.yaml") == config,
                       "{}: this run has other settings than the sweep now; remove it, or choose another `out`",
                       config.out);
  return true;
}

// The run of one point, unless it is there already. Gives the signal that stopped it, or 0.
int train_point(const Config& config, const Session& session) {
  if (is_finished(config)) return 0;
  const TrainResult result = train(config, {.resume = fs::exists(fs::path(config.out) / "metrics.jsonl"),
                                            .quiet = session.quiet,
                                            .signal = watch_signals()});
  finish_run(result);
  return result.stopped_by;
}

void run(const Arguments& a, Session& session) {
  const fs::path out = a.config.load(session).out;
  const auto points = points_of(a.grids);
  std::vector<Config> configs;  // all are read first: a wrong value shows before the first run
  for (const auto& point : points) {
    ConfigArguments with = a.config;
    with.overrides.insert(with.overrides.end(), point.begin(), point.end());
    configs.push_back(with.load(session));
    configs.back().out = (out / name_of_point(point)).string();
    for (size_t i = 0; i + 1 < configs.size(); ++i)
      require<ConfigError>(configs[i].out != configs.back().out,
                           "--grid: two points are called {}; do not repeat a value", configs.back().out);
  }
  std::vector<Json> runs, rows;
  for (size_t i = 0; i < configs.size(); ++i) {
    session.note(fmt::format("run {} of {}: {}", i + 1, configs.size(), fmt::join(points[i], " ")));
    if (const int signal = train_point(configs[i], session)) {
      session.note("stopped; the same command goes on from here");
      session.exit_code = 128 + signal;
      return;
    }
    runs.push_back(read_run(configs[i].out));
    rows.push_back(summary_of(runs.back()));
  }
  const std::string page = (out / "sweep.html").string();
  write_page(page, runs);
  if (!session.json) print_table(rows);
  session.note(page);
  session.print_result({{"path", page}, {"runs", rows}});
}

}  // namespace

void add_sweep(CLI::App& program, Session& session) {
  auto a = std::make_shared<Arguments>();
  CLI::App* command = add_command(
      program, session, "sweep", "a run for each point of a grid of settings; resumable",
      [a, &session] { run(*a, session); }, Devices::all);
  add_options(*command, a->config);
  command->add_option("--grid", a->grids, "a setting and its values, as optimizer.lr=1e-4,3e-4; may be given again")
      ->required()
      ->allow_extra_args(false)
      ->type_name("KEY=V1,V2");
}

}  // namespace mora
