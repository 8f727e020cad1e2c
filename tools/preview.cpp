// mora preview: what a configuration trains on, token by token, before anything is trained.
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "loaders/model_text.h"
#include "mora/training/setup.h"
#include "tools/config_arguments.h"

namespace mora {
namespace {

struct Arguments {
  ConfigArguments config;
  int64_t rows = 5;
};

bool is_trained(const Example& example, size_t t) {
  return !example.token_labels.empty() && example.token_labels[t] != kIgnoredLabel;
}

// Control characters as escapes; a line break also breaks the line.
std::string printable(const std::string& text) {
  std::string shown;
  for (const char c : text) {
    if (c == '\n')
      shown += "\\n\n    ";
    else if (static_cast<unsigned char>(c) < 0x20)
      shown += fmt::format("\\x{:02x}", c);
    else
      shown += c;
  }
  return shown;
}

// The tokens' text, runs of trained ones in green on a terminal, between « and » elsewhere.
std::string marked_text(const Example& example, const Tokenizer& tokenizer, bool terminal) {
  const char *begin = terminal ? "\033[1;32m" : "«", *end = terminal ? "\033[0m" : "»";
  std::string text;
  DecodeStream stream(tokenizer, false);
  bool inside = false;
  for (size_t t = 0; t < example.ids.size(); ++t) {
    const bool trained = is_trained(example, t);
    if (trained != inside) text += trained ? begin : end;
    inside = trained;
    text += printable(stream.push(example.ids[t]));
  }
  text += printable(stream.finish());
  return inside ? text + end : text;
}

std::string target_text(const Example& example, const TaskData& data, Task task) {
  if (task == Task::classification) return fmt::format(", label {}", data.labels()[size_t(example.label)]);
  return task == Task::regression ? fmt::format(", target {}", example.target) : "";
}

void show_row(int64_t row, const Example& example, const TaskData& data, const Config& config,
              const Tokenizer& tokenizer) {
  int64_t trained = 0;
  for (size_t t = 0; t < example.ids.size(); ++t) trained += is_trained(example, t);
  const std::string count = config.task == Task::causal_lm ? fmt::format(", {} trained", trained) : "";
  fmt::print("row {}: {} tokens{}{}\n    {}\n", row, example.ids.size(), count, target_text(example, data, config.task),
             marked_text(example, tokenizer, isatty(STDOUT_FILENO) == 1 && !std::getenv("NO_COLOR")));
}

// Rows by length, in eight ranges of equal width up to the longest.
struct Range {
  int32_t from, to;
  int64_t rows;
};
std::vector<Range> histogram(const std::vector<int32_t>& lengths) {
  constexpr int32_t bars = 8;
  const int32_t longest = *std::ranges::max_element(lengths), width = std::max(1, (longest + bars - 1) / bars);
  std::vector<Range> ranges;
  for (int32_t from = 1; from <= longest; from += width)
    ranges.push_back({from, std::min(longest, from + width - 1), 0});
  for (int32_t length : lengths) ++ranges[size_t((length - 1) / width)].rows;
  return ranges;
}

void show_histogram(const std::vector<Range>& ranges) {
  int64_t most = 1;
  for (const Range& r : ranges) most = std::max(most, r.rows);
  for (const Range& r : ranges)
    fmt::print("{:>6}–{:<6}{:>8}  {}\n", r.from, r.to, r.rows, std::string(size_t(40 * r.rows / most), '#'));
}

void run(const Arguments& a, Session& session) {
  const Config config = a.config.load(session);
  const TaskData data = read_training_data(config_of_task(config, 0)).train;
  const Tokenizer tokenizer = load_tokenizer(config.model);
  nlohmann::ordered_json rows = nlohmann::ordered_json::array(), bars = nlohmann::ordered_json::array();
  for (int64_t i = 0; i < std::min(a.rows, data.size()); ++i) {
    const Example example = data.example(i);
    if (!session.json) show_row(i, example, data, config, tokenizer);
    std::vector<bool> trained(example.ids.size());
    for (size_t t = 0; t < trained.size(); ++t) trained[t] = is_trained(example, t);
    rows.push_back({{"ids", example.ids}, {"trained", trained}});
  }
  int64_t tokens = 0, cut = 0;
  for (int64_t i = 0; i < data.size(); ++i) {
    tokens += data.lengths()[size_t(i)];
    cut += data.is_cut(i);
  }
  const std::vector<Range> ranges = histogram(data.lengths());
  const double truncated = double(cut) / double(data.size());
  if (!session.json) {
    fmt::print("\n{} rows, {} tokens, {:.1f} a row; {:.1f} % of the rows are cut to {} tokens\n", data.size(), tokens,
               double(tokens) / double(data.size()), 100 * truncated, config.data->max_length);
    show_histogram(ranges);
  }
  for (const std::string& line : data.warnings()) std::fprintf(stderr, "warning: %s\n", line.c_str());
  for (const Range& r : ranges) bars.push_back({{"from", r.from}, {"to", r.to}, {"rows", r.rows}});
  session.print_result({{"rows", rows},
                        {"total_rows", data.size()},
                        {"tokens", tokens},
                        {"lengths", bars},
                        {"truncated", truncated},
                        {"warnings", data.warnings()}});
}

}  // namespace

void add_preview(CLI::App& program, Session& session) {
  auto a = std::make_shared<Arguments>();
  CLI::App* command =
      add_command(program, session, "preview", "show the tokens of the training data, and which are trained",
                  [a, &session] { run(*a, session); });
  add_options(*command, a->config);
  command->add_option("--rows", a->rows, "how many rows to show (default: 5)")->check(at_least(0))->type_name("N");
}

}  // namespace mora
