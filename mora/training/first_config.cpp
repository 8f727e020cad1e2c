#include "mora/training/first_config.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <filesystem>

#include "engine/error.h"
#include "loaders/model_files.h"
#include "loaders/quote.h"
#include "mora/models/model.h"
#include "mora/training/config_values.h"
#include "mora/training/memory_plan.h"

namespace mora {
namespace {

constexpr int64_t kLengthStep = 16, kBatchRows = 32, kBatchTokens = 1024;
constexpr double kKeptWhole = 0.99;  // of the rows
constexpr double kImbalance = 4;     // rows of the commonest label over those of the rarest
constexpr size_t kShownLabels = 6;

bool is_encoder(const HfConfig& config) {
  return config.model_type == "bert" || config.model_type == "distilbert" || config.model_type == "roberta";
}

int64_t round_up(int64_t n, int64_t step) { return (n + step - 1) / step * step; }
double percent(int64_t part, int64_t all) { return all > 0 ? 100 * double(part) / double(all) : 0; }

// How many tokens the rows have.
struct Lengths {
  int64_t rows = 0, kept_whole = 0, longest = 0;  // kept_whole: as long as kKeptWhole of them are at most
};

Lengths lengths_of(const TaskData& data) {
  std::vector<int32_t> sorted = data.lengths();
  std::ranges::sort(sorted);
  const auto place = size_t(std::ceil(kKeptWhole * double(sorted.size()))) - 1;
  return {std::ssize(sorted), sorted[place], sorted.back()};
}

// A configuration that is being made: what was found, and what can still give way to save memory.
struct Draft {
  const FirstConfigOptions& options;
  HfConfig model;
  ColumnRoles roles;
  std::vector<ColumnSummary> columns;
  std::string valid;
  Lengths lengths;
  int64_t max_length = 0;
  TrainConfig train;

  bool is_language() const { return roles.task == Task::causal_lm; }
  const ColumnSummary& column(const std::string& name) const {
    return *std::ranges::find(columns, name, &ColumnSummary::name);
  }
};

// `key: value`, and why behind it.
std::string line(const std::string& setting, const std::string& why = "") {
  constexpr size_t column = 44;
  if (why.empty()) return setting + "\n";
  return setting + std::string(setting.size() < column ? column - setting.size() : 2, ' ') + "# " + why + "\n";
}

// "positive 51 %, negative 49 %"
std::string shares(const ColumnSummary& label) {
  std::vector<std::pair<int64_t, std::string>> values;
  for (const auto& [value, rows] : label.rows_by_value) values.emplace_back(-rows, value);
  std::ranges::sort(values);
  std::string text;
  for (size_t i = 0; i < values.size() && i < kShownLabels; ++i)
    text +=
        fmt::format("{}{} {:.0f} %", i > 0 ? ", " : "", quote(values[i].second), percent(-values[i].first, label.rows));
  return values.size() > kShownLabels ? fmt::format("{}, and {} more", text, values.size() - kShownLabels) : text;
}

bool is_imbalanced(const ColumnSummary& label) {
  const auto [rarest, commonest] =
      std::ranges::minmax_element(label.rows_by_value, {}, [](const auto& entry) { return entry.second; });
  return double(commonest->second) >= kImbalance * double(rarest->second);
}

std::string task_lines(const Draft& d) {
  std::string why;
  if (d.is_language())
    why = d.roles.messages ? "a language model and chats"
          : d.roles.prompt ? "a language model, prompts and completions"
                           : "a language model and texts";
  else if (d.roles.task == Task::classification)
    why =
        fmt::format("{} has {} different values", quote(*d.roles.label), d.column(*d.roles.label).rows_by_value.size());
  else
    why = fmt::format("{} has numbers", quote(*d.roles.label));
  std::string text = line(fmt::format("task: {}", name_of(d.roles.task)), why);
  if (d.is_language()) return text;
  std::vector<std::string> head;
  if (!is_encoder(d.model)) head.push_back("pooling: mean");
  if (d.roles.task == Task::classification && is_imbalanced(d.column(*d.roles.label)))
    head.push_back("class_weights: balanced");
  if (!head.empty())
    text += line(fmt::format("head: {{{}}}", fmt::join(head, ", ")),
                 head.back() == "pooling: mean" ? "" : "rows of a rare label count for more");
  return text;
}

std::string column_lines(const Draft& d) {
  std::string text;
  const auto add = [&](const char* key, const std::optional<std::string>& column, const std::string& why) {
    if (column) text += line(fmt::format("  {}: {}", key, write_text(*column)), why);
  };
  const ColumnRoles& r = d.roles;
  add("messages", r.messages, "the assistant's turns are trained");
  add("prompt", r.prompt, "");
  add("completion", r.completion, "is trained, the prompt is not");
  add("text", r.text, "");
  if (r.label) {
    const ColumnSummary& label = d.column(*r.label);
    std::string why = r.task == Task::classification ? shares(label) : "a number";
    if (!r.other_labels.empty()) why += fmt::format("; --label {} would do too", shell_quote(r.other_labels[0]));
    add("label", r.label, why);
  }
  return text;
}

std::string data_lines(const Draft& d) {
  const FirstConfigOptions& o = d.options;
  std::string text = "data:\n" + line("  train: " + write_text(o.data), fmt::format("{} rows", d.lengths.rows));
  text += d.valid.empty() ? line("  valid_fraction: 0.1", "of these rows, held out")
                          : line("  valid: " + write_text(d.valid));
  text += column_lines(d);
  std::string why = fmt::format("{:.0f} % of the rows have at most {} tokens, the longest {}", 100 * kKeptWhole,
                                d.lengths.kept_whole, d.lengths.longest);
  if (d.max_length < d.lengths.kept_whole) why += "; the model takes no more";
  return text + line(fmt::format("  max_length: {}", d.max_length), why);
}

std::string train_lines(const Draft& d) {
  std::string text = "train:\n" + line(fmt::format("  epochs: {}", d.is_language() ? 1 : 3));
  if (d.is_language()) {
    text += "  batch_size: null\n";
    text += line(fmt::format("  batch_tokens: {}", *d.train.batch_tokens),
                 "whole rows are packed into it, without padding");
  } else {
    text += line(fmt::format("  batch_size: {}", *d.train.batch_size));
  }
  if (d.train.accumulate > 1)
    text += line(fmt::format("  accumulate: {}", d.train.accumulate),
                 "batches an update, so that less is in memory at a time");
  text += line(fmt::format("  precision: {}", name_of(d.train.precision)),
               d.train.precision == Precision::f32 ? "bf16 takes about two thirds of the memory"
                                                   : "f32 does not fit into memory");
  if (d.train.recompute) text += line("  recompute: true", "activations are computed twice: less memory, more time");
  return text + line("  eval_every: " + std::string(d.is_language() ? "0.5epoch" : "1epoch"));
}

std::string to_text(const Draft& d) {
  const FirstConfigOptions& o = d.options;
  const std::string file = shell_quote(o.file);
  std::string text = fmt::format(
      "# Made by `mora init {} {}`; docs/config.md has every key.\n"
      "#   mora preview {}    the tokens, and which are trained\n"
      "#   mora plan {}       memory and time\n"
      "#   mora train {}\n",
      shell_quote(o.model), shell_quote(o.data), file, file, file);
  text += line("model: " + write_text(o.model),
               fmt::format("{}, {} layers of {}", d.model.model_type, d.model.num_hidden_layers, d.model.hidden_size));
  text += task_lines(d) + data_lines(d);
  text += "adapter:\n" + line("  kind: mora", "or lora, rslora, dora, adalora: docs/experiments.md compares them") +
          line("  rank: 8", "more learns more and may overfit") + line("  operator: rotation") +
          line("  targets: all-linear", "every linear of the transformer blocks");
  text += line(fmt::format("optimizer: {{kind: adamw, lr: {}, weight_decay: {}}}", d.is_language() ? "3e-4" : "1e-3",
                           d.is_language() ? "0" : "0.01"));
  text += line(fmt::format("schedule: {{kind: {}, warmup: 0.06}}", d.is_language() ? "cosine" : "linear"));
  return text + train_lines(d) + line("out: " + write_text("runs/" + std::filesystem::path(o.file).stem().string()));
}

// What a language model was trained for bounds a row too, though its rotary positions go on.
int64_t longest_row(const HfConfig& config) {
  const int64_t positions = longest_sequence(config);
  return config.max_position_embeddings > 0 ? std::min(positions, config.max_position_embeddings) : positions;
}

void measure_lengths(Draft& d) {
  DataConfig columns;
  columns.text = d.roles.text;
  columns.label = d.roles.label;
  columns.prompt = d.roles.prompt;
  columns.completion = d.roles.completion;
  columns.messages = d.roles.messages;
  columns.max_length = INT32_MAX;
  const TaskData data(
      {.task = d.roles.task, .files = {d.options.data}, .columns = columns, .labelled = true, .known_labels = {}},
      d.options.model);
  d.lengths = lengths_of(data);
  d.max_length = std::min(round_up(d.lengths.kept_whole, kLengthStep), longest_row(d.model));
  // A small set still has some updates an epoch.
  if (d.is_language())
    d.train.batch_tokens = std::max(kBatchTokens, d.max_length);
  else
    d.train.batch_size = std::clamp<int64_t>(int64_t(std::bit_floor(uint64_t(d.lengths.rows / 20 + 1))), 4, kBatchRows);
}

}  // namespace

std::string validation_beside(const std::string& data) {
  const std::filesystem::path path = data;
  const std::string name = path.filename().string();
  const size_t at = name.rfind("train");
  if (at == std::string::npos) return "";
  for (const char* word : {"valid", "dev", "val", "validation", "test"}) {
    const std::filesystem::path other = path.parent_path() / std::string(name).replace(at, 5, word);
    if (std::filesystem::is_regular_file(other)) return other.string();
  }
  return "";
}

FirstConfig make_first_config(const FirstConfigOptions& o) {
  Draft draft{.options = o,
              .model = open_model_files(o.model).config,
              .roles = {},
              .columns = summarize_columns(o.data),
              .valid = o.valid.empty() ? validation_beside(o.data) : o.valid,
              .lengths = {},
              .train = {}};
  draft.roles = guess_roles(draft.columns, !is_encoder(draft.model), o.hints, o.data);
  measure_lengths(draft);
  FirstConfig made;
  do {
    made.text = to_text(draft);
    made.config = parse_config(made.text, o.file);
    made.peak_bytes = plan_memory(made.config, false).peak_bytes;
  } while (o.memory_bytes > 0 && made.peak_bytes > o.memory_bytes && give_way(draft.train, draft.max_length));
  return made;
}

}  // namespace mora
