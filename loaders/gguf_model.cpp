#include "loaders/gguf_model.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "engine/error.h"
#include "loaders/quote.h"
#include "loaders/utf8.h"

namespace mora {
namespace {

using nlohmann::json;

// GGUF writes Mistral as llama; only the sliding window tells.
std::string architecture_of(const GgufFile& file) {
  const std::string name = file.string("general.architecture");
  const bool known = name == "llama" || name == "mistral" || name == "qwen2" || name == "qwen3" || name == "gpt2";
  require<IoError>(known, "{}: {} is not supported; supported are llama, mistral, qwen2, qwen3, gpt2",
                   file.place("general.architecture"), quote(name));
  return name;
}

// The converter interleaves the query and key rows of these; the others keep the half-split layout.
bool interleaves(std::string_view architecture) { return architecture == "llama" || architecture == "mistral"; }

bool is_query(std::string_view name) { return name.ends_with(".attn_q.weight") || name.ends_with(".attn_q.bias"); }
bool is_key(std::string_view name) { return name.ends_with(".attn_k.weight") || name.ends_with(".attn_k.bias"); }

Tensor transposed(const Tensor& t) {
  const int64_t rows = t.dim(0), columns = t.dim(1);
  Tensor out = Tensor::empty({columns, rows}, t.dtype());
  const size_t size = size_of(t.dtype());
  const auto* from = static_cast<const std::byte*>(t.raw());
  auto* to = static_cast<std::byte*>(out.mutable_raw());
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c)
      std::copy_n(from + static_cast<size_t>(r * columns + c) * size, size,
                  to + static_cast<size_t>(c * rows + r) * size);
  return out;
}

// Llama 3.1 files carry its frequency factors as a tensor; they must be those of the published parameters, of which
// only the factor varies (8, or 32 for the small models).
json llama3_scaling(const GgufFile& file, const GgufTensor& info, double theta) {
  const Tensor factors = file.tensor(info, DType::f32);
  const auto values = factors.values<float>();
  const std::string place = file.place("tensor 'rope_freqs.weight'");
  const double factor = *std::ranges::max_element(values);
  constexpr double low = 1, high = 4, original = 8192;
  for (size_t i = 0; i < values.size(); ++i) {
    const double wavelength = 2 * M_PI * std::pow(theta, static_cast<double>(i) / static_cast<double>(values.size()));
    const double smooth = std::clamp((original / wavelength - low) / (high - low), 0.0, 1.0);
    const double expected = 1 / ((1 - smooth) / factor + smooth);
    require<IoError>(std::abs(values[i] - expected) <= 1e-3 * expected,
                     "{}: element {} is {}, Llama 3's scaling by {} has {}; other scalings are not supported", place, i,
                     values[i], factor, expected);
  }
  return {{"rope_type", "llama3"},
          {"factor", factor},
          {"low_freq_factor", low},
          {"high_freq_factor", high},
          {"original_max_position_embeddings", static_cast<int64_t>(original)}};
}

json rope_scaling(const GgufFile& file, const std::string& architecture, double theta) {
  if (const GgufTensor* factors = file.find("rope_freqs.weight")) return llama3_scaling(file, *factors, theta);
  const std::string prefix = architecture + ".rope.scaling.";
  const std::string type = file.string(prefix + "type", "none");
  if (type == "none") return nullptr;
  json scaling = {{"rope_type", type}, {"factor", file.number(prefix + "factor")}};
  if (file.has(prefix + "original_context_length"))
    scaling["original_max_position_embeddings"] = file.integer(prefix + "original_context_length");
  return scaling;
}

void add_token_ids(const GgufFile& file, json& config) {
  for (const auto& [ours, theirs] :
       {std::pair{"bos_token_id", "tokenizer.ggml.bos_token_id"}, {"pad_token_id", "tokenizer.ggml.padding_token_id"}})
    if (file.has(theirs)) config[ours] = file.integer(theirs);
  json ends = json::array();
  for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"})
    if (file.has(key) && std::ranges::find(ends, json(file.integer(key))) == ends.end())
      ends.push_back(file.integer(key));
  if (!ends.empty()) config["eos_token_id"] = ends.size() == 1 ? ends[0] : ends;
}

// Rows of the token embedding: vocab_size is not always among the keys.
int64_t vocabulary(const GgufFile& file) {
  const GgufTensor* embedding = file.find("token_embd.weight");
  require<IoError>(embedding != nullptr, "{}: has no tensor 'token_embd.weight'", file.path().string());
  return embedding->rows();
}

}  // namespace

GgufWeights::GgufWeights(GgufFile file, DType dtype) : file_(std::move(file)), dtype_(dtype) {
  architecture_ = architecture_of(file_);
  heads_ = file_.integer(architecture_ + ".attention.head_count");
  kv_heads_ = file_.integer(architecture_ + ".attention.head_count_kv", heads_);
  for (const GgufTensor& t : file_.tensors()) {
    if (t.name == "rope_freqs.weight") continue;  // in the configuration
    std::string name = hf_name(architecture_, t.name);
    const std::string place = file_.place("tensor " + quote(t.name));
    require<IoError>(!name.empty(), "{}: no {} model has it", place, architecture_);
    const int64_t heads = is_query(t.name) ? heads_ : kv_heads_;
    const int64_t rows = t.shape.front();
    if (interleaves(architecture_) && (is_query(t.name) || is_key(t.name)))
      require<IoError>(heads > 0 && heads <= rows && rows % (2 * heads) == 0,
                       "{}: {} rows are no whole pairs of {} heads", place, rows, heads);
    tensor_of_.emplace(std::move(name), t.name);
  }
}

std::unique_ptr<GgufWeights> GgufWeights::open(const std::filesystem::path& file, DType dtype) {
  return std::unique_ptr<GgufWeights>(new GgufWeights(GgufFile::open(file), dtype));
}

std::vector<std::string> GgufWeights::names() const {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : tensor_of_) names.push_back(name);
  std::ranges::sort(names);
  return names;
}

const GgufTensor& GgufWeights::info_of(std::string_view name) const {
  const auto found = tensor_of_.find(std::string(name));
  require<IoError>(found != tensor_of_.end(), "{}: has no tensor {}", path().string(), quote(name));
  return *file_.find(found->second);
}

bool GgufWeights::is_conv1d(std::string_view name, const GgufTensor& info) const {
  return architecture_ == "gpt2" && info.shape.size() == 2 && name.find(".c_") != std::string_view::npos;
}

Meta GgufWeights::meta(std::string_view name) const {
  const GgufTensor& info = info_of(name);
  std::vector<int64_t> dims = info.shape;
  if (is_conv1d(name, info)) std::ranges::reverse(dims);
  return {Shape{std::span<const int64_t>(dims)}, dtype_, cpu};
}

Tensor GgufWeights::load(std::string_view name) const {
  const GgufTensor& info = info_of(name);
  const bool matrix = info.shape.size() == 2;
  const bool permuted = interleaves(architecture_) && (is_query(info.name) || is_key(info.name));
  if (permuted) {
    const auto order = split_row_order(info.shape.front(), is_query(info.name) ? heads_ : kv_heads_);
    if (matrix) return file_.tensor(info, dtype_, order);
    GgufTensor column = info;  // a bias: its elements are the rows
    column.shape = {info.shape.front(), 1};
    return file_.tensor(column, dtype_, order).alias({info.shape.front()}, {1}, 0);
  }
  Tensor tensor = file_.tensor(info, dtype_);
  return is_conv1d(name, info) ? transposed(tensor) : tensor;
}

json gguf_config_json(const GgufFile& file) {
  const std::string a = architecture_of(file);
  const auto integer = [&](const char* key) { return file.integer(a + "." + key); };
  json config = {{"vocab_size", vocabulary(file)}, {"dtype", "float32"}};
  add_token_ids(file, config);
  if (a == "gpt2") {
    config.update({{"model_type", "gpt2"},
                   {"architectures", {"GPT2LMHeadModel"}},
                   {"n_embd", integer("embedding_length")},
                   {"n_layer", integer("block_count")},
                   {"n_head", integer("attention.head_count")},
                   {"n_inner", integer("feed_forward_length")},
                   {"n_positions", integer("context_length")},
                   {"activation_function", "gelu_new"},
                   {"layer_norm_epsilon", file.number(a + ".attention.layer_norm_epsilon")}});
    return config;
  }
  const int64_t window = file.integer(a + ".attention.sliding_window", 0);
  const bool mistral = a == "mistral" || (a == "llama" && window > 0);
  const std::string type = mistral ? "mistral" : a;
  const int64_t heads = integer("attention.head_count"), hidden = integer("embedding_length");
  require<IoError>(heads > 0 && hidden > 0, "{}: expected a positive number, got {}",
                   file.place(a + ".attention.head_count"), heads);
  const double theta = file.number(a + ".rope.freq_base", 10000.0);
  const int64_t head_dim = file.integer(a + ".attention.key_length", hidden / heads);
  require<IoError>(file.integer(a + ".rope.dimension_count", head_dim) == head_dim,
                   "{}: rotary positions on a part of a head are not supported",
                   file.place(a + ".rope.dimension_count"));
  config.update({{"model_type", type},
                 {"architectures",
                  {type == "llama"     ? "LlamaForCausalLM"
                   : type == "mistral" ? "MistralForCausalLM"
                   : type == "qwen2"   ? "Qwen2ForCausalLM"
                                       : "Qwen3ForCausalLM"}},
                 {"hidden_size", hidden},
                 {"num_hidden_layers", integer("block_count")},
                 {"num_attention_heads", heads},
                 {"num_key_value_heads", file.integer(a + ".attention.head_count_kv", heads)},
                 {"head_dim", head_dim},
                 {"intermediate_size", integer("feed_forward_length")},
                 {"hidden_act", "silu"},
                 {"max_position_embeddings", integer("context_length")},
                 {"rms_norm_eps", file.number(a + ".attention.layer_norm_rms_epsilon")},
                 {"rope_theta", theta},
                 {"rope_scaling", rope_scaling(file, a, theta)},
                 {"attention_bias", file.find("blk.0.attn_output.bias") != nullptr},
                 {"tie_word_embeddings", file.find("output.weight") == nullptr}});
  config["sliding_window"] = window > 0 ? json(window) : json(nullptr);
  return config;
}

HfConfig gguf_config(const GgufFile& file) {
  const json document = gguf_config_json(file);
  HfConfig config = parse_hf_config(document, file.path().string());
  config.json_text = document.dump(2) + "\n";
  return config;
}

std::string gguf_chat_template(const GgufFile& file) {
  std::string text = file.string("tokenizer.chat_template", "");
  require<IoError>(valid_utf8_prefix(text) == text.size(), "{}: not UTF-8", file.place("tokenizer.chat_template"));
  return text;
}

}  // namespace mora
