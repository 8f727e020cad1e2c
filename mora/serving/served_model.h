// What a server offers: a frozen model by its name, and adapters of it by theirs.
#pragma once

#include "mora/generation/text.h"
#include "mora/multi_adapter_model.h"

namespace mora {

struct ServedModelOptions {
  std::string model;
  std::string name;                                           // of the model itself; "": its directory's or file's
  std::vector<std::pair<std::string, std::string>> adapters;  // name, directory
  DType precision = DType::f32;
  Device device = cpu;
  int64_t context = 0;  // the most tokens of a text, prompt and answer; 0: as the model was trained for, at most 4096
};

struct ServedModel {
  std::unique_ptr<MultiAdapterModel> model;
  Tokenizer tokenizer;
  // By the adapter's number, which is 0 for the model itself.
  std::vector<std::string> names;
  std::vector<std::optional<ChatTemplate>> templates;
  std::vector<Pooling> pooling;
  std::vector<int32_t> stop_tokens;
  int64_t context;

  bool is_language_model() const { return model->base().lm_head() != nullptr; }
  int64_t cache_bytes_of_token() const;  // of its keys and values in all layers
};

// Throws IoError and ConfigError, as the loaders; ConfigError where two have one name.
ServedModel load_served_model(const ServedModelOptions& options);

}  // namespace mora
