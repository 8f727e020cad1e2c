// Adapters on disk: MoRA's own format (PEFT's: mora/peft_directory.h).
//
// A native directory is mora_config.json and adapter.safetensors. The tensors are, by module path as Hugging Face
// writes it, MODULE.M; MODULE.lora_A and lora_B, with DoRA's lora_magnitude_vector, AdaLoRA's lora_E, and the origin_A
// and origin_B that PiSSA and OLoRA took from the weight; of an embedding MODULE.lora_embedding_A (V, r), the transpose
// of PEFT's, and lora_embedding_B (d, r); MODULE.weight and bias of modules trained whole; and
// classifier.weight and classifier.bias.
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
// The same as a directory of its own, which appears, or takes the place of what was there, when it is whole.
void replace_adapter(const std::filesystem::path& directory, MoRAModel& model, const AdapterInfo& info);

// What an adapter directory, native or PEFT, says of itself.
AdapterInfo read_adapter_info(const std::filesystem::path& directory);

// Puts the adapter of a native or PEFT directory on `model`, with its classifier where it has one. Throws IoError for
// files that are missing or wrong, ConfigError for an adapter of another model.
AdapterInfo load_adapter(const std::filesystem::path& directory, MoRAModel& model);

}  // namespace mora
