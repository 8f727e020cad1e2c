#include "mora/adapter_directory.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "autograd/ops/shape.h"
#include "kernels/copy.h"
#include "loaders/durable_file.h"
#include "loaders/json.h"
#include "loaders/json_fields.h"
#include "loaders/peft.h"
#include "loaders/safetensors.h"
#include "mora/adapters/lora.h"
#include "mora/adapters/mora.h"
#include "mora/model_head.h"

namespace mora {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t format_version = 1;
constexpr int64_t largest_side = 1 << 20;

Json layer_to_json(const MoRALayer& layer) {
  const AdapterSpec& spec = layer.spec();
  Json j;
  j["kind"] = name_of(spec.kind);
  if (const auto* mora = dynamic_cast<const MoRA*>(&layer)) {
    j["operator"] = name_of(mora->op().kind);
    j["side"] = mora->op().rank;
  } else {
    j["alpha"] = spec.alpha;
    j["rank_stabilized"] = spec.rank_stabilized;
  }
  j["rank"] = spec.rank;
  j["dropout"] = spec.dropout;
  return j;
}

// A tensor of the file in f32, of the shape the model asks for.
Tensor read_tensor(const SafetensorsFile& file, const std::string& name, const Shape& shape) {
  const Tensor t = file.tensor(name);
  require<IoError>(t.shape() == shape, "{}: tensor '{}': shape {}, the model needs {}", file.path().string(), name,
                   t.shape(), shape);
  require<IoError>(is_floating(t.dtype()), "{}: tensor '{}': dtype {}, expected a floating one", file.path().string(),
                   name, name_of(t.dtype()));
  Tensor copy = Tensor::empty(shape);
  kernels::copy(t, copy);
  for (float v : copy.values<float>())
    require<IoError>(std::isfinite(v), "{}: tensor '{}' has values that are not finite", file.path().string(), name);
  return leaf(copy);
}

std::unique_ptr<MoRALayer> layer_from_json(const JsonFields& fields, const SafetensorsFile& file,
                                           const std::string& module, const Linear& linear, uint64_t index) {
  AdapterSpec spec;
  spec.kind = parse_adapter_kind(fields.string("kind"));
  spec.rank = fields.integer("rank", 1, largest_side);
  spec.dropout = fields.number("dropout", 0, 0.999999);
  if (spec.kind == AdapterSpec::Kind::lora) {
    spec.alpha = fields.number("alpha", 1e-30, 1e30);
    spec.rank_stabilized = fields.boolean("rank_stabilized", false);
    return std::make_unique<LoRA>(spec, read_tensor(file, module + ".lora_A", {spec.rank, linear.in()}),
                                  read_tensor(file, module + ".lora_B", {linear.out(), spec.rank}), index);
  }
  spec.op = parse_operator(fields.string("operator"));
  const int64_t side = fields.integer("side", 1, largest_side);
  const Tensor matrix = read_tensor(file, module + ".M", {side, side});
  auto layer = std::make_unique<MoRA>(spec, linear.in(), linear.out(), side, index);
  layer->visit_parameters([&](const std::string&, Tensor& m) { m = matrix; });
  return layer;
}

void load_classifier(MoRAModel& model, const AdapterInfo& info, const SafetensorsFile& file) {
  if (!file.find("classifier.weight")) return;
  const std::vector<uint64_t>& shape = file.find("classifier.weight")->shape;
  require<IoError>(shape.size() == 2 && shape[0] >= 1 && shape[0] <= uint64_t(largest_side),
                   "{}: classifier.weight is no matrix", file.path().string());
  const auto classes = int64_t(shape[0]);
  require<IoError>(info.labels.empty() || int64_t(info.labels.size()) == classes,
                   "{}: {} labels for a classifier of {}", file.path().string(), info.labels.size(), classes);
  const Pooling pooling = resolve_pooling(info.pooling.empty() ? "auto" : info.pooling, model.base(), {});
  model.set_head(pooling, {read_tensor(file, "classifier.weight", {classes, model.base().config().hidden_size}),
                           read_tensor(file, "classifier.bias", {classes})});
}

AdapterInfo native_info(const JsonFields& fields) {
  return {fields.string("base_model", ""), fields.string("task", ""), fields.string("pooling", ""),
          fields.strings("labels")};
}

AdapterInfo peft_info(const PeftConfig& config) {
  const std::string task = config.task_type == "SEQ_CLS"     ? "classification"
                           : config.task_type == "CAUSAL_LM" ? "causal_lm"
                                                             : "";
  return {config.base_model, task, "", {}};
}

bool is_native(const std::filesystem::path& directory) {
  if (std::filesystem::exists(directory / "mora_config.json")) return true;
  require<IoError>(std::filesystem::exists(directory / "adapter_config.json"),
                   "{}: no adapter here: neither mora_config.json nor adapter_config.json", directory.string());
  return false;
}

AdapterInfo load_native(const std::filesystem::path& directory, MoRAModel& model) {
  const auto config_path = directory / "mora_config.json";
  const nlohmann::json document = read_json(config_path);
  const JsonFields fields(document, config_path.string());
  const int64_t version = fields.integer("format", 1, 1'000'000);
  require<IoError>(version <= format_version, "{}: format {}: written by a newer mora; this one reads up to {}",
                   config_path.string(), version, format_version);
  const AdapterInfo info = native_info(fields);
  const SafetensorsFile file = SafetensorsFile::open(directory / "adapter.safetensors");
  const nlohmann::json& modules = fields.require_member("modules");
  require<IoError>(modules.is_object(), "{}: modules: expected an object", config_path.string());
  uint64_t index = 0;
  for (const auto& [module, value] : modules.items()) {
    const Linear* linear = model.find(module);
    require<ConfigError>(
        linear != nullptr,
        "{}: module '{}': this {} model has none of that name; the adapter was made for another model ({})",
        config_path.string(), module, model.base().config().model_type, info.base_model);
    model.attach(module, layer_from_json(JsonFields(value, fields.place("modules") + "." + module), file, module,
                                         *linear, ++index));
  }
  load_classifier(model, info, file);
  std::set<std::string> known;
  model.visit_parameters([&](const std::string& name, Tensor&) { known.insert(name); });
  for (const TensorInfo& t : file.tensors()) {
    require<IoError>(known.contains(t.name), "{}: tensor '{}' belongs to no module of mora_config.json",
                     file.path().string(), t.name);
  }
  return info;
}

AdapterInfo load_peft(const std::filesystem::path& directory, MoRAModel& model) {
  const PeftAdapter adapter = read_peft(directory);
  const PeftConfig& config = adapter.config;
  const std::string where = (directory / "adapter_config.json").string();
  require<ConfigError>(config.kind == PeftConfig::Kind::lora && !config.use_dora,
                       "{}: only LoRA adapters can be loaded yet", where);
  require<ConfigError>(!config.init_lora_weights.starts_with("pissa") && config.init_lora_weights != "olora",
                       "{}: init_lora_weights '{}': the adapter belongs to a changed base model", where,
                       config.init_lora_weights);
  AdapterInfo info = peft_info(config);
  uint64_t index = 0;
  for (const auto& [module, tensors] : adapter.modules) {
    const Linear* linear = model.find(module);
    require<ConfigError>(linear != nullptr && !tensors.embedding,
                         "{}: module '{}': this {} model has no such linear; the adapter was made for another model",
                         where, module, model.base().config().model_type);
    require<ConfigError>(tensors.a.dim(1) == linear->in() && tensors.b.dim(0) == linear->out(),
                         "{}: module '{}': A {} and B {} do not fit ({}, {})", where, module, tensors.a.shape(),
                         tensors.b.shape(), linear->out(), linear->in());
    AdapterSpec spec;
    spec.kind = AdapterSpec::Kind::lora;
    spec.rank = tensors.a.dim(0);
    spec.alpha = config.alpha_of(module);
    spec.rank_stabilized = config.use_rslora;
    spec.dropout = config.lora_dropout;
    model.attach(module, std::make_unique<LoRA>(spec, contiguous(cast(tensors.a, DType::f32)),
                                                contiguous(cast(tensors.b, DType::f32)), ++index));
  }
  const auto weight = adapter.saved.find("classifier.weight"), bias = adapter.saved.find("classifier.bias");
  if (weight != adapter.saved.end() && bias != adapter.saved.end()) {
    const Shape expected{weight->second.dim(0), model.base().config().hidden_size};
    require<ConfigError>(weight->second.shape() == expected, "{}: classifier.weight {}: the model needs {}", where,
                         weight->second.shape(), expected);
    info.pooling = "pooler";
    model.set_head(resolve_pooling("pooler", model.base(), directory),
                   {leaf(cast(weight->second, DType::f32)), leaf(cast(bias->second, DType::f32))});
  }
  return info;
}

}  // namespace

void save_adapter(const std::filesystem::path& directory, MoRAModel& model, const AdapterInfo& info) {
  Json config;
  config["format"] = format_version;
  config["base_model"] = info.base_model;
  config["model_type"] = model.base().config().model_type;
  config["task"] = info.task;
  config["pooling"] = info.pooling;
  config["labels"] = info.labels;
  Json modules = Json::object();
  for (const auto& [path, linear] : model.adapted()) modules[path] = layer_to_json(linear->layer());
  config["modules"] = std::move(modules);

  std::map<std::string, Tensor> tensors;
  model.visit_parameters([&](const std::string& name, Tensor& value) { tensors[name] = value.detach(); });
  write_safetensors(directory / "adapter.safetensors", tensors, {{"format", "mora"}});
  write_durable(directory / "mora_config.json", config.dump(2) + "\n");
}

AdapterInfo read_adapter_info(const std::filesystem::path& directory) {
  if (!is_native(directory)) return peft_info(read_peft(directory).config);
  const auto path = directory / "mora_config.json";
  const nlohmann::json document = read_json(path);
  return native_info(JsonFields(document, path.string()));
}

AdapterInfo load_adapter(const std::filesystem::path& directory, MoRAModel& model) {
  return is_native(directory) ? load_native(directory, model) : load_peft(directory, model);
}

void save_peft(const std::filesystem::path& directory, MoRAModel& model, const AdapterInfo& info, bool with_head) {
  PeftAdapter adapter;
  PeftConfig& config = adapter.config;
  const bool head = with_head && model.classifier();
  config.task_type = info.task == "causal_lm" ? "CAUSAL_LM" : head ? "SEQ_CLS" : "FEATURE_EXTRACTION";
  // For feature extraction PEFT opens the bare model, whose module paths do not begin with its name in a task's class.
  const std::string prefix = config.task_type == "FEATURE_EXTRACTION" ? model.base().config().model_type + "." : "";
  config.base_model = info.base_model;
  bool first = true;
  for (const auto& [full, linear] : model.adapted()) {
    const std::string path = full.starts_with(prefix) ? full.substr(prefix.size()) : full;
    PeftModule& module = adapter.modules[path];
    int64_t rank = 0;
    double alpha = 0;
    if (const auto* lora = dynamic_cast<const LoRA*>(&linear->layer())) {
      linear->layer().visit_parameters(
          [&](const std::string& name, Tensor& t) { (name == "lora_A" ? module.a : module.b) = t.detach(); });
      rank = lora->spec().rank;
      alpha = lora->spec().alpha;
      config.use_rslora = lora->spec().rank_stabilized;
      config.lora_dropout = lora->spec().dropout;
    } else {
      const auto [a, b] = dynamic_cast<const MoRA&>(linear->layer()).as_low_rank();
      module.a = a;
      module.b = b;
      alpha = double(rank = a.dim(0));
    }
    if (first) config.r = rank, config.lora_alpha = alpha;
    first = false;
    if (rank != config.r) config.rank_pattern[path] = rank;
    if (alpha != config.lora_alpha) config.alpha_pattern[path] = alpha;
    config.target_modules.push_back(path);
  }
  if (head) {
    require<ConfigError>(model.pooling() == Pooling::pooler,
                         "a head that pools by {} cannot live in a PEFT adapter, whose model pools by its pooler; "
                         "export --without-head, or merge",
                         name_of(model.pooling()));
    const std::string& type = model.base().config().model_type;
    require<ConfigError>(head_module(type) == "classifier",
                         "the head of a {} model is not that of PEFT's model; export --without-head, or merge", type);
    config.modules_to_save = {"classifier"};
    adapter.saved["classifier.weight"] = model.classifier()->weight.detach();
    adapter.saved["classifier.bias"] = model.classifier()->bias.detach();
  }
  write_peft(directory, adapter);
}

}  // namespace mora
