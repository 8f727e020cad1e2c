// Adapters on disk: MoRA's own format, and PEFT's.
//
// A native directory is mora_config.json and adapter.safetensors. The tensors are MODULE.M, MODULE.lora_A,
// MODULE.lora_B (module paths as Hugging Face writes them), classifier.weight and classifier.bias. A PEFT directory is
// read where it holds a LoRA.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "mora/mora_model.h"

namespace mora {

// What an adapter says besides its tensors.
struct AdapterInfo {
  std::string base_model;           // the path it was trained on; "" when unknown
  std::string task;                 // classification, regression, causal_lm; "" when unknown
  std::string pooling;              // pooler, cls, mean; "" without a head
  std::vector<std::string> labels;  // by class id; empty outside classification
};

// Writes mora_config.json and adapter.safetensors into an existing directory.
void save_adapter(const std::filesystem::path& directory, MoRAModel& model, const AdapterInfo& info);

// What an adapter directory, native or PEFT, says of itself.
AdapterInfo read_adapter_info(const std::filesystem::path& directory);

// Puts the adapter of a native or PEFT directory on `model`, with its classifier where it has one. Throws IoError for
// files that are missing or wrong, ConfigError for an adapter of another model.
AdapterInfo load_adapter(const std::filesystem::path& directory, MoRAModel& model);

// Writes a PEFT directory: LoRA, and those MoRA operators that are exactly a LoRA of rank r̂. Throws ConfigError with
// the reason where PEFT cannot hold the adapter: rotation and decouple, or a head that is not that of PEFT's model
// (pass with_head = false to leave it out).
void save_peft(const std::filesystem::path& directory, MoRAModel& model, const AdapterInfo& info,
               bool with_head = true);

}  // namespace mora
