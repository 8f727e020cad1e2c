#include "loaders/peft_config.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "engine/error.h"
#include "loaders/json.h"
#include "loaders/json_fields.h"
#include "loaders/module_pattern.h"
#include "loaders/quote.h"

namespace mora {
namespace {

using nlohmann::json;

constexpr int64_t kMaxRank = 1 << 20;
constexpr double kMaxAlpha = 1e9;
constexpr const char* kFormatVersion = "0.17.0";  // the PEFT release whose keys are written; later ones read them

// Settings that change the mathematics in ways MoRA does not compute. Those that only choose an initialisation are read
// over.
void refuse_variants(const JsonFields& fields) {
  for (const char* key : {"lora_bias", "use_qalora", "use_bdlora", "layer_replication", "megatron_config",
                          "target_parameters", "trainable_token_indices", "alora_invocation_tokens", "arrow_config",
                          "kasa_config", "monteclora_config", "velora_config"}) {
    const json* value = fields.find(key);
    const bool unset = !value || *value == false || (value->is_structured() && value->empty());
    require<IoError>(unset, "{}: not supported", fields.place(key));
  }
  const std::string bias = fields.string("bias", "none");
  require<IoError>(bias == "none", "{}: {} is not supported, only 'none'", fields.place("bias"), quote(bias));
}

PeftConfig::Kind read_kind(const JsonFields& fields) {
  const std::string type = fields.string("peft_type");
  if (type == "LORA") return PeftConfig::Kind::lora;
  if (type == "ADALORA") return PeftConfig::Kind::adalora;
  fail<IoError>("{}: {} is not supported; supported are LORA, ADALORA", fields.place("peft_type"), quote(type));
}

void read_targets(const JsonFields& fields, PeftConfig& config) {
  const json* targets = fields.find("target_modules");
  if (targets && targets->is_string()) {
    config.target_expression = targets->get<std::string>();
  } else {
    config.target_modules = fields.strings("target_modules");
  }
}

double alpha(const JsonFields& fields, std::string_view key, std::optional<double> otherwise) {
  const double value = fields.number(key, -kMaxAlpha, kMaxAlpha, otherwise);
  require<IoError>(value != 0, "{}: 0 would switch the adapter off", fields.place(key));
  return value;
}

void read_patterns(const JsonFields& fields, PeftConfig& config) {
  const bool lora = config.kind == PeftConfig::Kind::lora;  // AdaLoRA's rank_pattern lists kept ranks; the tensors tell
  if (const json* ranks = lora ? fields.find("rank_pattern") : nullptr) {
    const JsonFields list(*ranks, fields.place("rank_pattern"));
    for (const auto& item : ranks->items())
      config.rank_pattern.emplace(item.key(), list.integer(item.key(), 1, kMaxRank));
  }
  if (const json* alphas = fields.find("alpha_pattern")) {
    const JsonFields list(*alphas, fields.place("alpha_pattern"));
    for (const auto& item : alphas->items()) config.alpha_pattern.emplace(item.key(), alpha(list, item.key(), {}));
  }
}

std::string read_init(const JsonFields& fields) {
  const json* init = fields.find("init_lora_weights");
  if (!init) return "true";
  if (init->is_boolean()) return init->get<bool>() ? "true" : "false";
  return fields.string("init_lora_weights");
}

json number_json(double value) {  // 16, not 16.0, where it is whole: PEFT declares alpha an int
  if (value == std::floor(value)) return static_cast<int64_t>(value);
  return value;
}

json strings_or_null(const std::vector<std::string>& list) { return list.empty() ? json(nullptr) : json(list); }
json string_or_null(const std::string& text) { return text.empty() ? json(nullptr) : json(text); }

// AdaLoRA: module.lora_E → which of the r ranks were kept. They are stored densely, so the first ones.
json kept_ranks(const PeftAdapter& adapter) {
  json kept = json::object();
  for (const auto& [path, module] : adapter.modules) {
    std::vector<bool> flags(static_cast<size_t>(adapter.config.r), false);
    std::fill_n(flags.begin(), module.a.dim(0), true);
    kept[path + ".lora_E"] = flags;
  }
  return kept;
}

std::string_view pipeline_of(const std::string& task_type) {
  if (task_type == "SEQ_CLS") return "text-classification";
  if (task_type == "CAUSAL_LM") return "text-generation";
  if (task_type == "FEATURE_EXTRACTION") return "feature-extraction";
  return "";
}

}  // namespace

int64_t PeftConfig::rank_of(std::string_view module) const {
  return value_of_module(rank_pattern, module, "rank_pattern", r);
}

double PeftConfig::alpha_of(std::string_view module) const {
  return value_of_module(alpha_pattern, module, "alpha_pattern", lora_alpha);
}

double PeftConfig::scaling_of(std::string_view module) const {
  const auto rank = static_cast<double>(rank_of(module));
  return alpha_of(module) / (use_rslora ? std::sqrt(rank) : rank);
}

PeftConfig read_peft_config(const std::filesystem::path& file) {
  const json document = read_json(file);
  const JsonFields fields(document, file.string());
  PeftConfig config;
  config.kind = read_kind(fields);
  refuse_variants(fields);
  const bool adalora = config.kind == PeftConfig::Kind::adalora;
  config.task_type = fields.string("task_type", "");
  config.base_model = fields.string("base_model_name_or_path", "");
  config.r = adalora ? fields.integer("init_r", 1, kMaxRank, 12) : fields.integer("r", 1, kMaxRank, 8);
  config.lora_alpha = alpha(fields, "lora_alpha", 8.0);
  config.lora_dropout = fields.number("lora_dropout", 0, 1, 0.0);
  read_targets(fields, config);
  config.fan_in_fan_out = fields.boolean("fan_in_fan_out", false);
  config.use_rslora = fields.boolean("use_rslora", false);
  config.use_dora = fields.boolean("use_dora", false);
  read_patterns(fields, config);
  config.modules_to_save = fields.strings("modules_to_save");
  config.init_lora_weights = read_init(fields);
  if (adalora && fields.has("target_r")) config.target_r = fields.integer("target_r", 1, kMaxRank);
  if (adalora && fields.has("total_step")) config.total_step = fields.integer("total_step", 1, INT64_MAX);
  return config;
}

std::string peft_config_text(const PeftAdapter& adapter) {
  const PeftConfig& config = adapter.config;
  const bool adalora = config.kind == PeftConfig::Kind::adalora;
  json alphas = json::object();
  for (const auto& [pattern, value] : config.alpha_pattern) alphas[pattern] = number_json(value);
  const json init = config.init_lora_weights == "true" || config.init_lora_weights == "false"
                        ? json(config.init_lora_weights == "true")
                        : json(config.init_lora_weights);
  json document = {
      {"alpha_pattern", alphas},
      {"auto_mapping", nullptr},
      {"base_model_name_or_path", string_or_null(config.base_model)},
      {"bias", "none"},
      {"fan_in_fan_out", config.fan_in_fan_out},
      {"inference_mode", true},
      {"init_lora_weights", init},
      {"layers_pattern", nullptr},
      {"layers_to_transform", nullptr},
      {"lora_alpha", number_json(config.lora_alpha)},
      {"lora_dropout", config.lora_dropout},
      {"modules_to_save", strings_or_null(config.modules_to_save)},
      {"peft_type", adalora ? "ADALORA" : "LORA"},
      {"peft_version", kFormatVersion},
      {"r", config.r},
      {"rank_pattern", config.rank_pattern},
      {"revision", nullptr},
      {"target_modules",
       config.target_expression.empty() ? json(config.target_modules) : json(config.target_expression)},
      {"task_type", string_or_null(config.task_type)},
      {"use_dora", config.use_dora},
      {"use_rslora", config.use_rslora},
  };
  if (adalora) {
    document["init_r"] = config.r;
    document["target_r"] = config.target_r.value_or(config.r);
    document["total_step"] = config.total_step.value_or(1);
    document["rank_pattern"] = kept_ranks(adapter);
  }
  return document.dump(2) + "\n";
}

std::string peft_card_text(const PeftAdapter& adapter) {
  const PeftConfig& config = adapter.config;
  const std::string base = json(config.base_model).dump();  // JSON's quoting is YAML's
  std::string card = "---\nlibrary_name: peft\nbase_model: " + base + "\n";
  if (const auto pipeline = pipeline_of(config.task_type); !pipeline.empty())
    card += fmt::format("pipeline_tag: {}\n", pipeline);
  const std::string_view kind = config.kind == PeftConfig::Kind::adalora ? "adalora" : "lora";
  card += fmt::format("tags:\n- {}\n- {}\n", json("base_model:adapter:" + config.base_model).dump(), kind);
  if (config.use_dora) card += "- dora\n";
  if (config.use_rslora) card += "- rslora\n";
  card += fmt::format("---\n\n# {} adapter of rank {}\n\n", kind == "lora" ? "LoRA" : "AdaLoRA", config.r);
  card += fmt::format("Trained with MoRA for {}. Load it with PEFT over that base model:\n\n", base);
  card +=
      "```python\nfrom peft import PeftModel\nmodel = PeftModel.from_pretrained(base_model, \"this directory\")\n```\n";
  if (!adapter.labels.empty()) {
    card += "\nIts classes, to give to the base model with `num_labels` and `id2label`:\n\n";
    for (size_t i = 0; i < adapter.labels.size(); ++i)
      card += fmt::format("- {}: {}\n", i, json(adapter.labels[i]).dump());
  }
  return card;
}

}  // namespace mora
