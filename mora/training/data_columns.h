// What the columns of a data file hold, from a sample of its rows, and what they seem to be there for.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "mora/training/config.h"

namespace mora {

// Of the sampled rows.
struct ColumnSummary {
  std::string name;
  int64_t rows = 0, filled = 0;       // sampled; with a value that is not empty
  int64_t numbers = 0, integers = 0;  // values that are finite numbers, and whole ones; in a .tsv they are texts
  int64_t chats = 0;                  // values that are arrays of {role, content}
  int64_t length = 0;                 // of all values together, in bytes
  std::map<std::string, int64_t> rows_by_value;  // no chats

  bool is_filled() const { return rows > 0 && filled == rows; }
  bool is_chat() const { return is_filled() && chats == rows; }
  bool is_number() const { return is_filled() && numbers == rows; }
  bool is_text() const { return is_filled() && !is_number() && !is_chat(); }
  // A label of few classes: words, or whole numbers as class ids; each of them in several rows.
  bool is_classes() const;
};

// Throws IoError, ConfigError as the data loader.
std::vector<ColumnSummary> summarize_columns(const std::string& file);

struct ColumnHints {
  std::optional<Task> task;
  std::optional<std::string> text, label;
};

struct ColumnRoles {
  Task task = Task::classification;
  std::optional<std::string> text, label, prompt, completion, messages;
  std::vector<std::string> other_labels;  // columns that would do as well
};

// A language model learns chats, else prompts with completions, else texts; an encoder learns classes or, where the
// label is a number with many values, regression. Columns are known by their names, else by what they hold. Throws
// ConfigError, naming `file` and its columns, where nothing fits.
ColumnRoles guess_roles(const std::vector<ColumnSummary>& columns, bool is_language_model, const ColumnHints& hints,
                        const std::string& file);

}  // namespace mora
