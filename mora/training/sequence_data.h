// Data sets of whole-sequence tasks (classification, regression) as tokenized examples.
#pragma once

#include "loaders/batch.h"
#include "loaders/tokenizer/tokenizer.h"
#include "mora/training/config.h"

namespace mora {

struct SequenceData {
  std::vector<Example> examples;
  std::vector<std::string> labels;  // classification: by class id
  int64_t truncated = 0;            // rows longer than max_length
  int64_t size() const { return int64_t(examples.size()); }
  std::vector<int32_t> lengths() const;
};

struct SequenceDataOptions {
  Task task = Task::classification;
  std::vector<std::string> files;
  std::string text = "text";
  std::optional<std::string> label;       // none: rows to predict
  std::vector<std::string> known_labels;  // the classes a model has; empty: those of the data
  int64_t max_length = 256;
};

// Reads and tokenizes all rows. Special tokens are kept when a text is cut. Throws IoError, ConfigError naming file and
// line.
SequenceData read_sequences(const SequenceDataOptions& options, const Tokenizer& tokenizer);

// `data` divided: a share of its rows aside for validation, by the seed.
std::pair<SequenceData, SequenceData> split(SequenceData data, double valid_fraction, uint64_t seed);

// The examples `rows` of `data` as one packed batch.
PackedBatch pack_rows(const SequenceData& data, std::span<const int64_t> rows);

}  // namespace mora
