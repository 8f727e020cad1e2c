// Class labels: the names that stand in a data file, and the ids that a classifier knows them by.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "loaders/dataset.h"

namespace mora {

// names()[id] is the label of class id: Hugging Face's `id2label`.
class LabelNames {
 public:
  // Collects the labels that a column holds: strings, whole numbers or booleans. Ids follow the order of the names
  // (numbers by value where all are whole numbers, else bytes). IoError names the row of a label that is missing, a
  // fraction, or of another type than the rows before it.
  static LabelNames collect(const Dataset& data, size_t field);

  // The names of a model, an adapter or a configuration. ConfigError: none, or one twice.
  explicit LabelNames(std::vector<std::string> names);

  const std::vector<std::string>& names() const { return names_; }
  int64_t size() const { return static_cast<int64_t>(names_.size()); }

  // The class of a row. Where the names are words, a whole number is taken as a class id, as Hugging Face's data sets
  // have it. IoError: a label that is missing or unknown; the known ones are listed.
  int32_t id_of(const Row& row, size_t field) const;

 private:
  std::vector<std::string> names_;
  std::vector<int32_t> by_name_;  // ids, sorted by name
  bool words_ = false;            // no name is a whole number
};

}  // namespace mora
