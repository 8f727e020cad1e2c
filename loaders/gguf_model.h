// A GGUF file as a Hugging Face model: weights under Hugging Face names, config.json, tokenizer.json, chat template.
#pragma once

#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "loaders/gguf.h"
#include "loaders/hf_config.h"
#include "loaders/model_weights.h"

namespace mora {

// The weights in one dtype. The converter's changes are undone: dimensions come outermost first, the query and key rows
// of the llama architecture go back from the interleaved to the half-split rotary layout, GPT-2's matrices are
// transposed.
class GgufWeights final : public ModelWeights {
 public:
  // dtype: f32 or bf16. Throws IoError for an architecture or a tensor that is not known.
  static std::unique_ptr<GgufWeights> open(const std::filesystem::path& file, DType dtype);

  const std::filesystem::path& path() const override { return file_.path(); }
  std::vector<std::string> names() const override;
  bool contains(std::string_view name) const override { return tensor_of_.contains(std::string(name)); }
  Meta meta(std::string_view name) const override;
  using ModelWeights::load;
  Tensor load(std::string_view name) const override;

  const GgufFile& file() const { return file_; }

 private:
  GgufWeights(GgufFile file, DType dtype);
  const GgufTensor& info_of(std::string_view name) const;
  bool is_conv1d(std::string_view name, const GgufTensor& info) const;  // GPT-2's matrices, (in, out) in a directory

  GgufFile file_;
  DType dtype_;
  std::string architecture_;
  int64_t heads_ = 0, kv_heads_ = 0;
  std::unordered_map<std::string, std::string> tensor_of_;  // Hugging Face name → GGUF name
};

// What config.json would say. Throws IoError that names the key.
nlohmann::json gguf_config_json(const GgufFile& file);
HfConfig gguf_config(const GgufFile& file);

// What tokenizer.json would say. `tokenizer.ggml.model` gpt2 (byte-level BPE with the pre-tokenizers gpt-2, default,
// smollm, llama-bpe, qwen2) or llama (SentencePiece's BPE with byte fallback).
nlohmann::json gguf_tokenizer_json(const GgufFile& file);
// What tokenizer_config.json would say of the special tokens.
nlohmann::json gguf_tokenizer_config(const GgufFile& file);

// tokenizer.chat_template, or an empty string.
std::string gguf_chat_template(const GgufFile& file);

// The GGUF name of a Hugging Face weight or module ("model.layers.0.self_attn.q_proj.weight" → "blk.0.attn_q.weight");
// empty when the architecture has none of that name.
std::string gguf_name(std::string_view architecture, std::string_view name);
// The reverse; empty for what a Hugging Face model does not hold.
std::string hf_name(std::string_view architecture, std::string_view name);

// Row i of the half-split layout (Hugging Face) is row order[i] of the interleaved one (GGUF), head by head.
std::vector<int64_t> split_row_order(int64_t rows, int64_t heads);

// An adapter for llama.cpp: W + (alpha / r) · B A on the tensors it names.
struct GgufLoraModule {
  std::string name;  // the Hugging Face module path
  Tensor a, b;       // f32 (r, in), (out, r)
};

// Writes `general.type = adapter`, `adapter.type = lora` and the pairs NAME.weight.lora_a, NAME.weight.lora_b in f32.
// For the llama architecture the rows of B of queries and keys are interleaved as the base's are. The scale alpha / r
// is one for all: other scales (rsLoRA, patterns) must be folded into B before. Throws IoError for a module without
// GGUF name.
void write_gguf_lora(const std::filesystem::path& file, const std::vector<GgufLoraModule>& modules, double alpha,
                     const HfConfig& base);

}  // namespace mora
