// A Hugging Face model's config.json (and generation_config.json) in one shape for every family. The families spell
// their keys differently (GPT-2's n_embd is DistilBERT's dim is everybody's hidden_size): here they have the common
// names.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/dtype.h"

namespace mora {

enum class HfActivation { gelu, gelu_tanh, relu, silu };  // gelu: with erf; gelu_tanh: gelu_new, gelu_pytorch_tanh

// Rotary positions: inverse frequencies theta^(−2i/head_dim), changed by `kind` (transformers, modeling_rope_utils.py).
struct RopeConfig {
  enum class Kind { plain, linear, dynamic, llama3, yarn };
  Kind kind = Kind::plain;
  double theta = 10000;
  double factor = 1;                                 // all but plain
  int64_t original_max_position_embeddings = 0;      // llama3, yarn; dynamic has max_position_embeddings here
  double low_freq_factor = 1, high_freq_factor = 4;  // llama3
  double beta_fast = 32, beta_slow = 1;              // yarn, from here on
  double attention_factor = 1;  // cos and sin are multiplied by it; resolved from mscale if need be
  bool truncate = true;         // the correction range to whole dimensions
};

struct HfConfig {
  std::string model_type;                  // one of supported_model_types()
  std::vector<std::string> architectures;  // as written: "BertForSequenceClassification", …

  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t num_hidden_layers = 0;
  int64_t num_attention_heads = 0;
  int64_t num_key_value_heads = 0;
  int64_t head_dim = 0;
  int64_t intermediate_size = 0;
  int64_t max_position_embeddings = 0;
  int64_t type_vocab_size = 0;  // BERT and RoBERTa; 0 elsewhere
  double norm_eps = 0;          // of LayerNorm or RMSNorm, whichever the family has
  HfActivation activation = HfActivation::gelu;

  bool tie_word_embeddings = false;
  bool qkv_bias = false;
  bool attention_output_bias = false;
  bool mlp_bias = false;
  bool qk_norm = false;          // Qwen3: RMSNorm of every query and key head
  RopeConfig rope;               // Llama, Mistral, Qwen
  std::vector<int64_t> windows;  // a layer: how many positions a query sees, itself included; 0: all before it

  std::optional<int64_t> pad_token_id, bos_token_id;
  std::vector<int64_t> eos_token_ids;  // generation_config.json's where it has them
  std::vector<std::string> labels;     // id2label, in the order of the ids; empty where config.json has none
  std::string problem_type;            // "regression", "single_label_classification", … or empty
  std::optional<DType> dtype;          // torch_dtype, or the newer dtype

  std::string json_text;  // config.json as it was read: what a merged model copies
};

// "bert", "distilbert", "roberta", "llama", "mistral", "qwen2", "qwen3", "gpt2".
const std::vector<std::string>& supported_model_types();

// Reads DIRECTORY/config.json, and generation_config.json where there is one. Throws IoError that names file and field.
HfConfig read_hf_config(const std::filesystem::path& directory);

// The same from a document; `file` opens the errors. GGUF comes through here too.
HfConfig parse_hf_config(const nlohmann::json& document, std::string_view file);

}  // namespace mora
