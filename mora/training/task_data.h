// The rows of a task's data files as tokenized examples, made when they are asked for: what stays in memory is a few
// bytes a row.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "loaders/batch.h"
#include "loaders/checksum.h"
#include "mora/training/config.h"

namespace mora {

struct TaskDataOptions {
  Task task = Task::classification;
  std::vector<std::string> files;
  DataConfig columns;                     // text, label, prompt …, max_length, append_eos
  bool labelled = true;                   // false: rows to predict, without a label
  std::vector<std::string> known_labels;  // the classes a model has; empty: those of the data
};

class TaskData {
 public:
  TaskData() = default;  // no rows
  // Reads and tokenizes every row once: for its length, and so that what is wrong shows before the first update.
  // `model` has the tokenizer and the chat template. Special tokens are kept when a text is cut to max_length. Throws
  // IoError, ConfigError that name file and line.
  TaskData(const TaskDataOptions& options, const std::filesystem::path& model);

  int64_t size() const { return int64_t(rows_.size()); }
  const std::vector<int32_t>& lengths() const { return lengths_; }  // tokens of each example
  Example example(int64_t i) const;
  std::string text(int64_t i) const;  // classification and regression: the row's text as the file has it
  PackedBatch batch(std::span<const int64_t> examples) const;

  bool is_cut(int64_t i) const { return cut_[size_t(i)]; }                // longer than max_length in the file
  const std::vector<std::string>& labels() const;                         // classification: by class id
  std::vector<int64_t> rows_by_label() const;                             // classification: how many rows of each
  const std::vector<std::string>& warnings() const { return warnings_; }  // one line each

  // The lengths: a checkpoint knows rows by their places, which mean others in a file that was edited.
  void add_to(Checksum& sum) const;

  // The examples `chosen`, in that order.
  TaskData subset(std::span<const int64_t> chosen) const;

 private:
  class Reader;
  std::shared_ptr<const Reader> reader_;
  std::vector<int64_t> rows_;  // of the files
  std::vector<int32_t> lengths_;
  std::vector<bool> cut_;
  std::vector<std::string> warnings_;
};

}  // namespace mora
