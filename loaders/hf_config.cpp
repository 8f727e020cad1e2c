#include "loaders/hf_config.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>

#include "engine/error.h"
#include "loaders/json.h"
#include "loaders/json_fields.h"
#include "loaders/quote.h"
#include "loaders/regular_file.h"

namespace mora {
namespace {

using nlohmann::json;

constexpr size_t kMaxBytes = size_t{64} << 20;
constexpr int64_t kMaxDim = INT32_MAX;
constexpr int64_t kMaxLayers = 4096;
constexpr int64_t kMaxLabels = 1'000'000;
constexpr double kMaxFactor = 1e9;

// How a family spells its keys and what it has where config.json is silent (transformers, configuration_*.py). An empty
// key: the family has no such setting.
struct Family {
  std::string_view model_type;
  std::string_view hidden_size, layers, heads, intermediate_size, max_positions, activation, norm_eps;
  int64_t default_max_positions;
  double default_eps;
  std::string_view default_activation;
  bool tied, rotary;
};

constexpr std::string_view kHidden = "hidden_size", kLayers = "num_hidden_layers", kHeads = "num_attention_heads",
                           kIntermediate = "intermediate_size", kPositions = "max_position_embeddings",
                           kActivation = "hidden_act";

constexpr std::array<Family, 8> kFamilies = {{
    {"bert", kHidden, kLayers, kHeads, kIntermediate, kPositions, kActivation, "layer_norm_eps", 512, 1e-12, "gelu",
     true, false},
    {"distilbert", "dim", "n_layers", "n_heads", "hidden_dim", kPositions, "activation", "", 512, 1e-12, "gelu", true,
     false},
    {"roberta", kHidden, kLayers, kHeads, kIntermediate, kPositions, kActivation, "layer_norm_eps", 512, 1e-12, "gelu",
     true, false},
    {"llama", kHidden, kLayers, kHeads, kIntermediate, kPositions, kActivation, "rms_norm_eps", 2048, 1e-6, "silu",
     false, true},
    {"mistral", kHidden, kLayers, kHeads, kIntermediate, kPositions, kActivation, "rms_norm_eps", 131072, 1e-6, "silu",
     false, true},
    {"qwen2", kHidden, kLayers, kHeads, kIntermediate, kPositions, kActivation, "rms_norm_eps", 32768, 1e-6, "silu",
     false, true},
    {"qwen3", kHidden, kLayers, kHeads, kIntermediate, kPositions, kActivation, "rms_norm_eps", 32768, 1e-6, "silu",
     false, true},
    {"gpt2", "n_embd", "n_layer", "n_head", "n_inner", "n_positions", "activation_function", "layer_norm_epsilon", 1024,
     1e-5, "gelu_new", true, false},
}};

const Family& family_of(const JsonFields& fields) {
  const std::string type = fields.string("model_type");
  const auto* found = std::ranges::find(kFamilies, type, &Family::model_type);
  require<IoError>(found != kFamilies.end(), "{}: {} is not supported; supported are {}", fields.place("model_type"),
                   quote(type), fmt::join(supported_model_types(), ", "));
  return *found;
}

HfActivation parse_activation(const std::string& name, const std::string& place) {
  if (name == "gelu") return HfActivation::gelu;
  if (name == "gelu_new" || name == "gelu_pytorch_tanh" || name == "gelu_fast") return HfActivation::gelu_tanh;
  if (name == "relu") return HfActivation::relu;
  if (name == "silu" || name == "swish") return HfActivation::silu;
  fail<IoError>(
      "{}: {} is not supported; supported are gelu, gelu_new, gelu_pytorch_tanh, gelu_fast, relu, silu, swish", place,
      quote(name));
}

DType parse_dtype(std::string name, const std::string& place) {
  if (name.starts_with("torch.")) name.erase(0, 6);
  if (name == "float32") return DType::f32;
  if (name == "bfloat16") return DType::bf16;
  if (name == "float16") return DType::f16;
  if (name == "float64") return DType::f64;
  fail<IoError>("{}: {} is not supported; supported are float32, bfloat16, float16, float64", place, quote(name));
}

void read_sizes(const JsonFields& fields, const Family& family, HfConfig& config) {
  config.vocab_size = fields.integer("vocab_size", 1, kMaxDim);
  config.hidden_size = fields.integer(family.hidden_size, 1, kMaxDim);
  config.num_hidden_layers = fields.integer(family.layers, 1, kMaxLayers);
  config.num_attention_heads = fields.integer(family.heads, 1, kMaxDim);
  const bool gpt2 = family.model_type == "gpt2";  // n_inner is null where it is 4 · n_embd
  config.intermediate_size =
      fields.integer(family.intermediate_size, 1, kMaxDim, gpt2 ? std::optional(4 * config.hidden_size) : std::nullopt);
  config.max_position_embeddings = fields.integer(family.max_positions, 1, kMaxDim, family.default_max_positions);
  const bool segments = family.model_type == "bert" || family.model_type == "roberta";
  config.type_vocab_size = segments ? fields.integer("type_vocab_size", 1, kMaxDim, 2) : 0;
  const bool own_head_dim = family.rotary && (fields.has("head_dim") || family.model_type == "qwen3");
  require<IoError>(own_head_dim || config.hidden_size % config.num_attention_heads == 0,
                   "{}: {} is not divisible by {} {}", fields.place(family.hidden_size), config.hidden_size,
                   family.heads, config.num_attention_heads);
  config.num_key_value_heads = config.num_attention_heads;
  config.head_dim = config.hidden_size / config.num_attention_heads;
  if (!family.rotary) return;
  config.num_key_value_heads = fields.integer("num_key_value_heads", 1, kMaxDim,
                                              family.model_type == "mistral" && !fields.has("num_key_value_heads")
                                                  ? std::min<int64_t>(8, config.num_attention_heads)
                                                  : config.num_attention_heads);
  require<IoError>(config.num_attention_heads % config.num_key_value_heads == 0,
                   "{}: {} is not divisible by num_key_value_heads {}", fields.place(family.heads),
                   config.num_attention_heads, config.num_key_value_heads);
  config.head_dim =
      fields.integer("head_dim", 1, kMaxDim, family.model_type == "qwen3" ? int64_t{128} : config.head_dim);
  require<IoError>(config.head_dim % 2 == 0, "{}: {} is odd; rotary positions turn pairs", fields.place("head_dim"),
                   config.head_dim);
}

double yarn_scale(double factor, double mscale) { return factor <= 1 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0; }

void read_yarn(const JsonFields& fields, RopeConfig& rope) {
  rope.beta_fast = fields.number("beta_fast", 1e-6, kMaxFactor, 32.0);
  rope.beta_slow = fields.number("beta_slow", 1e-6, kMaxFactor, 1.0);
  rope.truncate = fields.boolean("truncate", true);
  const double mscale = fields.number("mscale", 0, kMaxFactor, 0.0);
  const double mscale_all_dim = fields.number("mscale_all_dim", 0, kMaxFactor, 0.0);
  const double inferred = mscale != 0 && mscale_all_dim != 0
                              ? yarn_scale(rope.factor, mscale) / yarn_scale(rope.factor, mscale_all_dim)
                              : yarn_scale(rope.factor, 1);
  rope.attention_factor = fields.number("attention_factor", 0, kMaxFactor, inferred);
}

// "rope_scaling" beside "rope_theta" (older), or "rope_parameters" that holds both (newer).
RopeConfig read_rope(const JsonFields& fields, const HfConfig& config) {
  RopeConfig rope;
  const char* key = fields.has("rope_scaling") ? "rope_scaling" : "rope_parameters";
  const json none = json::object();
  const JsonFields scaling(fields.has(key) ? *fields.find(key) : none, fields.place(key));
  const double theta = fields.number("rope_theta", 1e-3, 1e18, 10000.0);
  rope.theta = scaling.number("rope_theta", 1e-3, 1e18, theta);
  for (const JsonFields* holder : {&fields, &scaling})
    require<IoError>(holder->number("partial_rotary_factor", 0, 1, 1.0) == 1.0, "{}: only 1 is supported",
                     holder->place("partial_rotary_factor"));

  const std::string kind = scaling.string("rope_type", scaling.string("type", "default"));
  if (kind == "default") return rope;
  const auto factor = [&] { return scaling.number("factor", 1e-6, kMaxFactor); };
  rope.original_max_position_embeddings = config.max_position_embeddings;
  if (kind == "linear") {
    rope.kind = RopeConfig::Kind::linear;
    rope.factor = factor();
  } else if (kind == "dynamic") {
    rope.kind = RopeConfig::Kind::dynamic;
    rope.factor = factor();
  } else if (kind == "llama3" || kind == "yarn") {
    rope.kind = kind == "yarn" ? RopeConfig::Kind::yarn : RopeConfig::Kind::llama3;
    const auto original =
        scaling.integer("original_max_position_embeddings", 1, kMaxDim, config.max_position_embeddings);
    rope.original_max_position_embeddings = fields.integer("original_max_position_embeddings", 1, kMaxDim, original);
    const double implied = static_cast<double>(config.max_position_embeddings) /
                           static_cast<double>(rope.original_max_position_embeddings);
    rope.factor = kind == "yarn" && !scaling.has("factor") ? implied : factor();
    if (kind == "yarn") {
      read_yarn(scaling, rope);
    } else {
      rope.low_freq_factor = scaling.number("low_freq_factor", 1e-6, kMaxFactor);
      rope.high_freq_factor = scaling.number("high_freq_factor", 1e-6, kMaxFactor);
      require<IoError>(rope.high_freq_factor > rope.low_freq_factor, "{}: {} must be above low_freq_factor {}",
                       scaling.place("high_freq_factor"), rope.high_freq_factor, rope.low_freq_factor);
    }
  } else {
    fail<IoError>("{}: {} is not supported; supported are default, linear, dynamic, llama3, yarn",
                  scaling.place("rope_type"), quote(kind));
  }
  return rope;
}

// Mistral slides in every layer; Qwen slides where layer_types says, else from max_window_layers on, if at all.
std::vector<int64_t> read_windows(const JsonFields& fields, const HfConfig& config) {
  std::vector<int64_t> windows(static_cast<size_t>(config.num_hidden_layers), 0);
  const bool qwen = config.model_type == "qwen2" || config.model_type == "qwen3";
  const bool slides = config.model_type == "mistral" || (qwen && fields.boolean("use_sliding_window", false));
  if (!slides || !fields.has("sliding_window")) return windows;
  const int64_t window = fields.integer("sliding_window", 1, kMaxDim);
  if (!qwen) return std::vector<int64_t>(windows.size(), window);
  const std::vector<std::string> types = fields.strings("layer_types");
  require<IoError>(types.empty() || types.size() == windows.size(), "{}: {} entries for {} layers",
                   fields.place("layer_types"), types.size(), windows.size());
  const int64_t first = fields.integer("max_window_layers", 0, kMaxDim, 28);
  for (size_t i = 0; i < windows.size(); ++i) {
    const bool known = types.empty() || types[i] == "sliding_attention" || types[i] == "full_attention";
    require<IoError>(known, "{}: {} is neither full_attention nor sliding_attention", fields.place("layer_types"),
                     known ? "" : quote(types[i]));
    const bool slide = types.empty() ? static_cast<int64_t>(i) >= first : types[i] == "sliding_attention";
    windows[i] = slide ? window : 0;
  }
  return windows;
}

void read_biases(const JsonFields& fields, HfConfig& config) {
  const std::string& type = config.model_type;
  if (type == "qwen2") {
    config.qkv_bias = true;
  } else if (type == "llama" || type == "qwen3") {
    config.qkv_bias = config.attention_output_bias = fields.boolean("attention_bias", false);
    config.mlp_bias = type == "llama" && fields.boolean("mlp_bias", false);
  } else if (type != "mistral") {
    config.qkv_bias = config.attention_output_bias = config.mlp_bias = true;
  }
  config.qk_norm = type == "qwen3";
}

// Settings whose other values would change the mathematics: better an error than a wrong model.
void refuse_variants(const JsonFields& fields) {
  const auto only = [&](const char* key, bool value) {
    require<IoError>(fields.boolean(key, value) == value, "{}: only {} is supported", fields.place(key), value);
  };
  only("is_decoder", false);
  only("add_cross_attention", false);
  only("is_encoder_decoder", false);
  only("scale_attn_weights", true);
  only("scale_attn_by_inverse_layer_idx", false);
  const std::string positions = fields.string("position_embedding_type", "absolute");
  require<IoError>(positions == "absolute", "{}: {} is not supported, only 'absolute'",
                   fields.place("position_embedding_type"), quote(positions));
  require<IoError>(!fields.has("quantization_config"), "{}: quantised weights are not supported (a GGUF file is)",
                   fields.place("quantization_config"));
}

// id2label {"0": name, "1": name, …}, or names made up from num_labels as transformers does.
std::vector<std::string> read_labels(const JsonFields& fields) {
  std::vector<std::string> labels;
  const json* names = fields.find("id2label");
  if (!names) {
    const int64_t count = fields.integer("num_labels", 0, kMaxLabels, 0);
    for (int64_t i = 0; i < count; ++i) labels.push_back(fmt::format("LABEL_{}", i));
    return labels;
  }
  const JsonFields list(*names, fields.place("id2label"));
  for (size_t i = 0; i < names->size(); ++i) labels.push_back(list.string(std::to_string(i)));
  return labels;
}

std::optional<int64_t> read_token_id(const JsonFields& fields, const char* key) {
  const int64_t id = fields.integer(key, -1, kMaxDim, -1);  // −1 is how some files write "none"
  return id < 0 ? std::nullopt : std::optional(id);
}

// One id or a list of ids.
std::vector<int64_t> read_eos(const JsonFields& fields) {
  const json* value = fields.find("eos_token_id");
  if (!value) return {};
  const std::string place = fields.place("eos_token_id");
  if (!value->is_array()) return {integer_in(*value, 0, kMaxDim, place)};
  std::vector<int64_t> ids;
  for (const json& id : *value) ids.push_back(integer_in(id, 0, kMaxDim, place));
  return ids;
}

}  // namespace

const std::vector<std::string>& supported_model_types() {
  static const std::vector<std::string> types = [] {
    std::vector<std::string> names;
    for (const Family& family : kFamilies) names.emplace_back(family.model_type);
    return names;
  }();
  return types;
}

HfConfig parse_hf_config(const json& document, std::string_view file) {
  const JsonFields fields(document, std::string(file));
  const Family& family = family_of(fields);
  HfConfig config;
  config.model_type = family.model_type;
  config.architectures = fields.strings("architectures");
  refuse_variants(fields);
  read_sizes(fields, family, config);
  config.norm_eps =
      family.norm_eps.empty() ? family.default_eps : fields.number(family.norm_eps, 0, 1, family.default_eps);
  config.activation = parse_activation(fields.string(family.activation, std::string(family.default_activation)),
                                       fields.place(family.activation));
  config.tie_word_embeddings = fields.boolean("tie_word_embeddings", family.tied);
  read_biases(fields, config);
  if (family.rotary) config.rope = read_rope(fields, config);
  config.windows = read_windows(fields, config);
  config.pad_token_id = read_token_id(fields, "pad_token_id");
  config.bos_token_id = read_token_id(fields, "bos_token_id");
  config.eos_token_ids = read_eos(fields);
  config.labels = read_labels(fields);
  config.problem_type = fields.string("problem_type", "");
  for (const char* key : {"torch_dtype", "dtype"})
    if (fields.has(key)) config.dtype = parse_dtype(fields.string(key), fields.place(key));
  return config;
}

HfConfig read_hf_config(const std::filesystem::path& directory) {
  const std::filesystem::path file = directory / "config.json";
  std::string text = read_regular_file(file, kMaxBytes);
  HfConfig config = parse_hf_config(parse_json(text, file.string()), file.string());
  config.json_text = std::move(text);
  const std::filesystem::path generation = directory / "generation_config.json";
  std::error_code ignored;
  if (std::filesystem::exists(generation, ignored)) {
    const json document = read_json(generation, kMaxBytes);
    const JsonFields fields(document, generation.string());
    if (fields.has("eos_token_id")) config.eos_token_ids = read_eos(fields);
  }
  return config;
}

}  // namespace mora
