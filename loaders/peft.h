// Adapters in PEFT's format: adapter_config.json, adapter_model.safetensors and README.md in one directory.
//
// A tensor's key is "base_model.model." + module path + suffix. With in and out the sizes of the module's linear:
//   LoRA      .lora_A.weight (r, in)   .lora_B.weight (out, r)    DoRA also  .lora_magnitude_vector (out)
//   AdaLoRA   .lora_A (r, in)          .lora_B (out, r)           .lora_E (r, 1)
//   embedding .lora_embedding_A (r, vocabulary)                   .lora_embedding_B (d, r)
//             PEFT adds the frozen table of what is called embed_tokens, .base_layer.weight (vocabulary, d)
// Modules trained whole (modules_to_save: a classifier) keep their key.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/tensor.h"

namespace mora {

struct PeftConfig {
  enum class Kind { lora, adalora };
  Kind kind = Kind::lora;
  std::string task_type;   // "SEQ_CLS", "CAUSAL_LM", "FEATURE_EXTRACTION"; empty: none
  std::string base_model;  // base_model_name_or_path; empty: none
  int64_t r = 8;           // AdaLoRA: the rank at the start, init_r
  double lora_alpha = 8;
  double lora_dropout = 0;
  std::vector<std::string> target_modules;  // names, or
  std::string target_expression;            // a regular expression or "all-linear"; empty when the names are given
  bool fan_in_fan_out = false;              // GPT-2's Conv1D
  bool use_rslora = false;
  bool use_dora = false;
  std::map<std::string, int64_t> rank_pattern;  // expression on module paths → rank; LoRA only
  std::map<std::string, double> alpha_pattern;
  std::vector<std::string> modules_to_save;
  std::string init_lora_weights =
      "true";  // "pissa…" and "olora" also changed the base model: W − BA is what they run on
  std::optional<int64_t> target_r, total_step;  // AdaLoRA

  // The rank and alpha of a module: the first pattern that matches `(.*\.)?PATTERN`, else r and lora_alpha.
  int64_t rank_of(std::string_view module) const;
  double alpha_of(std::string_view module) const;
  // What multiplies BA: alpha / r, rsLoRA alpha / √r. (AdaLoRA divides by its rank at the start.)
  double scaling_of(std::string_view module) const;
};

// What one module has; undefined tensors are absent.
struct PeftModule {
  Tensor a, b;       // (r, in), (out, r)
  Tensor magnitude;  // (out): DoRA
  Tensor e;          // (r, 1): AdaLoRA
  Tensor base = {};  // the module's frozen weight; read only, never written
  bool embedding = false;
};

struct PeftAdapter {
  PeftConfig config;
  std::map<std::string, PeftModule> modules;  // by module path
  std::map<std::string, Tensor> saved;        // of modules_to_save, by Hugging Face name: "classifier.weight"
  std::vector<std::string> labels;  // by class id; empty: unknown. PEFT's configuration has no place for them:
                                    // they stand in the weights' metadata ("id2label") and in the card
};

// Throws IoError (a pattern that does not compile: ConfigError) for everything that can be known without the model:
// config without weights and the reverse, rank 0, alpha 0, an A without its B, swapped, of another rank than
// configured, missing or unexpected tensors, those of a module that target_modules does not name, values that are not
// finite, settings MoRA does not compute.
PeftAdapter read_peft(const std::filesystem::path& directory);

// Writes the three files into an existing directory. `base_model` of the card is the config's.
void write_peft(const std::filesystem::path& directory, const PeftAdapter& adapter);

}  // namespace mora
