// A first configuration, made by looking at the model, the data and the machine; each choice says why.
#pragma once

#include <cstdint>
#include <string>

#include "mora/training/data_columns.h"

namespace mora {

struct FirstConfigOptions {
  std::string model, data;
  std::string valid;  // "": the file beside the data that is called so, else a tenth of the data
  std::string file;   // the configuration's; its name without .yaml is the run's
  ColumnHints hints;
  int64_t memory_bytes = 0;  // that the run may take; 0: any
};

struct FirstConfig {
  std::string text;        // YAML with comments
  Config config;           // the same, read
  int64_t peak_bytes = 0;  // of memory, estimated
};

// reviews.train.tsv → reviews.valid.tsv, or .dev, .val, .validation, .test, where it exists; else "".
std::string validation_beside(const std::string& data);

// What it gives can be trained as it is. Throws IoError, ConfigError where the data do not fit the model.
FirstConfig make_first_config(const FirstConfigOptions& options);

}  // namespace mora
