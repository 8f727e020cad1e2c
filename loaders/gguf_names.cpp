// Names of llama.cpp's converter (gguf-py, tensor_mapping.py) beside those of transformers.
#include <algorithm>
#include <array>
#include <cctype>
#include <span>

#include "loaders/gguf_model.h"

namespace mora {
namespace {

struct NamePair {
  std::string_view gguf, hf;  // without ".weight" or ".bias"; those of a layer without its number
};

constexpr std::string_view kLlamaLayer = "model.layers.", kGpt2Layer = "transformer.h.", kGgufLayer = "blk.";

constexpr std::array<NamePair, 14> kLlama = {{
    {"token_embd", "model.embed_tokens"},
    {"output_norm", "model.norm"},
    {"output", "lm_head"},
    {"attn_norm", "input_layernorm"},
    {"ffn_norm", "post_attention_layernorm"},
    {"attn_q", "self_attn.q_proj"},
    {"attn_k", "self_attn.k_proj"},
    {"attn_v", "self_attn.v_proj"},
    {"attn_output", "self_attn.o_proj"},
    {"attn_q_norm", "self_attn.q_norm"},
    {"attn_k_norm", "self_attn.k_norm"},
    {"ffn_gate", "mlp.gate_proj"},
    {"ffn_up", "mlp.up_proj"},
    {"ffn_down", "mlp.down_proj"},
}};

constexpr std::array<NamePair, 10> kGpt2 = {{
    {"token_embd", "transformer.wte"},
    {"position_embd", "transformer.wpe"},
    {"output_norm", "transformer.ln_f"},
    {"output", "lm_head"},
    {"attn_norm", "ln_1"},
    {"attn_qkv", "attn.c_attn"},
    {"attn_output", "attn.c_proj"},
    {"ffn_norm", "ln_2"},
    {"ffn_up", "mlp.c_fc"},
    {"ffn_down", "mlp.c_proj"},
}};

std::span<const NamePair> pairs_of(std::string_view architecture) {
  if (architecture == "gpt2") return kGpt2;
  if (architecture == "llama" || architecture == "mistral" || architecture == "qwen2" || architecture == "qwen3")
    return kLlama;
  return {};
}

// PREFIX N . REST → (N ., REST); without the prefix (nothing, name).
std::pair<std::string_view, std::string_view> split_layer(std::string_view name, std::string_view prefix) {
  if (!name.starts_with(prefix)) return {"", name};
  size_t digits = prefix.size();
  while (digits < name.size() && std::isdigit(static_cast<unsigned char>(name[digits]))) ++digits;
  if (digits == prefix.size() || digits == name.size() || name[digits] != '.') return {"", name};
  return {name.substr(prefix.size(), digits + 1 - prefix.size()), name.substr(digits + 1)};
}

std::string translate(std::string_view architecture, std::string_view name, std::string_view NamePair::*from,
                      std::string_view NamePair::*to) {
  std::string_view ending;
  for (const std::string_view e : {".weight", ".bias"})
    if (name.ends_with(e)) ending = e;
  const std::string_view hf_layer = architecture == "gpt2" ? kGpt2Layer : kLlamaLayer;
  const bool to_hf = to == &NamePair::hf;
  const auto [number, part] = split_layer(name.substr(0, name.size() - ending.size()), to_hf ? kGgufLayer : hf_layer);
  const auto pairs = pairs_of(architecture);
  const auto found = std::ranges::find(pairs, part, from);
  if (found == pairs.end()) return "";
  std::string result;
  if (!number.empty()) result.append(to_hf ? hf_layer : kGgufLayer).append(number);
  return result.append((*found).*to).append(ending);
}

}  // namespace

std::string gguf_name(std::string_view architecture, std::string_view name) {
  return translate(architecture, name, &NamePair::hf, &NamePair::gguf);
}

std::string hf_name(std::string_view architecture, std::string_view name) {
  return translate(architecture, name, &NamePair::gguf, &NamePair::hf);
}

std::vector<int64_t> split_row_order(int64_t rows, int64_t heads) {
  const int64_t size = rows / heads, half = size / 2;
  std::vector<int64_t> order(static_cast<size_t>(rows));
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t head = i / size, in_head = i % size;
    order[static_cast<size_t>(i)] = head * size + 2 * (in_head % half) + in_head / half;
  }
  return order;
}

}  // namespace mora
