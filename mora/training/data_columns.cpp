#include "mora/training/data_columns.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

#include "engine/error.h"
#include "loaders/dataset.h"
#include "loaders/json.h"
#include "loaders/quote.h"

namespace mora {
namespace {

using Columns = std::vector<ColumnSummary>;
using Names = std::vector<std::string>;

constexpr int64_t kSampledRows = 2000;
constexpr size_t kMostClasses = 20;  // of whole numbers: more are a measurement

// As data sets call them, likeliest first.
const Names text_names = {"text", "sentence", "review", "content", "document", "comment", "tweet", "body", "question"};
const Names label_names = {"label",  "labels", "class", "category", "target", "sentiment",
                           "intent", "topic",  "stars", "rating",   "score"};
const std::vector<std::pair<std::string, std::string>> completion_names = {
    {"prompt", "completion"},    {"prompt", "response"}, {"instruction", "output"},
    {"instruction", "response"}, {"question", "answer"}, {"input", "output"}};

std::optional<double> number_in(const std::string& text) {
  double value = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = error == std::errc() && stop == text.data() + text.size() && std::isfinite(value);
  return whole ? std::optional(value) : std::nullopt;
}

bool is_chat_text(const std::string& text, const std::string& where) {
  const nlohmann::json list = parse_json(text, where);
  const auto is_turn = [](const nlohmann::json& turn) {
    return turn.is_object() && turn.contains("role") && turn.contains("content");
  };
  return list.is_array() && !list.empty() && std::ranges::all_of(list, is_turn);
}

void add(ColumnSummary& column, const Field& field, const std::string& where) {
  ++column.rows;
  if (field.kind == Field::Kind::missing || field.kind == Field::Kind::null || field.text.empty()) return;
  ++column.filled;
  column.length += std::ssize(field.text);
  if (field.kind == Field::Kind::json) {
    column.chats += is_chat_text(field.text, where);
    return;
  }
  ++column.rows_by_value[field.text];
  const auto number = number_in(field.text);
  column.numbers += number.has_value();
  column.integers += number && *number == std::floor(*number);
}

const ColumnSummary* find(const Columns& columns, const std::string& name) {
  const auto found = std::ranges::find(columns, name, &ColumnSummary::name);
  return found == columns.end() ? nullptr : &*found;
}

std::string listed(const Columns& columns) {
  Names names;
  for (const ColumnSummary& column : columns) names.push_back(quote(column.name));
  return fmt::format("{}", fmt::join(names, ", "));
}

// The column of the hint, which must be there; else the first of the known names that fits; else the best one.
template <class Fits, class Better>
const ColumnSummary* choose(const Columns& columns, const std::optional<std::string>& hint, std::string_view option,
                            const Names& names, Fits fits, Better better, const std::string& file) {
  if (hint) {
    const ColumnSummary* column = find(columns, *hint);
    require<ConfigError>(column != nullptr, "{} {}: {} has no such column; it has {}", option, *hint, file,
                         listed(columns));
    return column;
  }
  const ColumnSummary* best = nullptr;
  for (const std::string& name : names)
    if (const ColumnSummary* column = find(columns, name); column && fits(*column)) return column;
  for (const ColumnSummary& column : columns)
    if (fits(column) && (!best || better(column, *best))) best = &column;
  return best;
}

ColumnRoles language_roles(const Columns& columns, const ColumnHints& hints, const std::string& file) {
  ColumnRoles roles{.task = Task::causal_lm,
                    .text = {},
                    .label = {},
                    .prompt = {},
                    .completion = {},
                    .messages = {},
                    .other_labels = {}};
  if (!hints.text) {
    for (const ColumnSummary& column : columns) {
      if (!column.is_chat()) continue;
      roles.messages = column.name;
      return roles;
    }
    for (const auto& [prompt, completion] : completion_names) {
      const ColumnSummary *first = find(columns, prompt), *second = find(columns, completion);
      if (!first || !second || !second->is_filled()) continue;
      roles.prompt = prompt;
      roles.completion = completion;
      return roles;
    }
  }
  const auto longer = [](const ColumnSummary& a, const ColumnSummary& b) { return a.length > b.length; };
  const ColumnSummary* text =
      choose(columns, hints.text, "--text", text_names, std::mem_fn(&ColumnSummary::is_text), longer, file);
  require<ConfigError>(text != nullptr, "{}: no column of text in every row; it has {}", file, listed(columns));
  roles.text = text->name;
  return roles;
}

ColumnRoles labelled_roles(const Columns& columns, const ColumnHints& hints, const std::string& file) {
  const bool has_chat = std::ranges::any_of(columns, &ColumnSummary::is_chat);
  require<ConfigError>(!has_chat || hints.text, "{}: chats are for a language model, and this model is none", file);
  const auto longer = [](const ColumnSummary& a, const ColumnSummary& b) { return a.length > b.length; };
  const ColumnSummary* text =
      choose(columns, hints.text, "--text", text_names, std::mem_fn(&ColumnSummary::is_text), longer, file);
  require<ConfigError>(text != nullptr, "{}: no column of text in every row; it has {}", file, listed(columns));
  const auto is_label = [&](const ColumnSummary& column) {
    const bool fits = hints.task == Task::regression       ? column.is_number()
                      : hints.task == Task::classification ? column.is_classes()
                                                           : column.is_classes() || column.is_number();
    return &column != text && fits;
  };
  const auto fewer = [](const ColumnSummary& a, const ColumnSummary& b) {
    return a.rows_by_value.size() < b.rows_by_value.size();
  };
  const ColumnSummary* label = choose(columns, hints.label, "--label", label_names, is_label, fewer, file);
  require<ConfigError>(label != nullptr,
                       "{}: no column beside {} looks like a label; it has {}; name one with --label, or take a "
                       "language model to learn the texts",
                       file, quote(text->name), listed(columns));
  ColumnRoles roles{.task = Task::regression,
                    .text = text->name,
                    .label = label->name,
                    .prompt = {},
                    .completion = {},
                    .messages = {},
                    .other_labels = {}};
  if (hints.task ? *hints.task == Task::classification : label->is_classes() || !label->is_number())
    roles.task = Task::classification;
  for (const ColumnSummary& column : columns)
    if (&column != label && &column != text && (column.is_classes() || column.is_number()))
      roles.other_labels.push_back(column.name);
  return roles;
}

}  // namespace

bool ColumnSummary::is_classes() const {
  if (!is_filled() || chats > 0 || rows_by_value.size() < 2) return false;
  const bool whole_numbers = integers == rows;
  if (numbers == rows) return whole_numbers && rows_by_value.size() <= kMostClasses;
  return 2 * std::ssize(rows_by_value) <= rows;
}

std::vector<ColumnSummary> summarize_columns(const std::string& file) {
  const Names names = column_names(expand_files({file}));
  const Dataset data({.files = {file}, .columns = {}, .optional = names});
  Columns columns;
  for (const std::string& name : names) columns.push_back({.name = name, .rows_by_value = {}});
  const int64_t sampled = std::min(data.size(), kSampledRows);
  for (int64_t i = 0; i < sampled; ++i) {
    const Row row = data.read(i * data.size() / sampled);
    for (size_t c = 0; c < columns.size(); ++c) add(columns[c], row.fields[c], row.where);
  }
  return columns;
}

ColumnRoles guess_roles(const Columns& columns, bool is_language_model, const ColumnHints& hints,
                        const std::string& file) {
  const bool language = hints.task ? *hints.task == Task::causal_lm : is_language_model && !hints.label;
  require<ConfigError>(!language || is_language_model, "--task causal_lm: the model is no language model");
  return language ? language_roles(columns, hints, file) : labelled_roles(columns, hints, file);
}

}  // namespace mora
