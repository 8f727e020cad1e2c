#include "mora/adapter_directory.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "autograd/ops/shape.h"
#include "kernels/copy.h"
#include "loaders/durable_file.h"
#include "loaders/json.h"
#include "loaders/json_fields.h"
#include "loaders/quote.h"
#include "loaders/safetensors.h"
#include "loaders/staged_directory.h"
#include "mora/adapters/adalora.h"
#include "mora/adapters/dora.h"
#include "mora/adapters/embedding_lora.h"
#include "mora/adapters/mora.h"
#include "mora/adapters/whole_linear.h"
#include "mora/experts/routed_layer.h"
#include "mora/peft_directory.h"

namespace mora {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t format_version = 1;
constexpr int64_t largest_side = 1 << 20;

Json to_json(const RoutingSpec& routing) {
  Json j{{"levels", routing.levels},   {"routing", name_of(routing.rule)}, {"top_k", routing.top_k},
         {"top_p", routing.top_p},     {"capacity", routing.capacity},     {"noise", routing.noise},
         {"balance", routing.balance}, {"z_loss", routing.z_loss},         {"entropy", routing.entropy}};
  if (routing.threshold) j["threshold"] = *routing.threshold;
  return j;
}

Json routed_to_json(const RoutedLayer& layer) {
  const AdapterSpec& spec = layer.spec();
  Json j{{"kind", name_of(spec.kind)}, {"rank", spec.rank}, {"dropout", spec.dropout}};
  if (spec.kind == AdapterSpec::Kind::mora) {
    j["operator"] = name_of(spec.op);
  } else {
    j["alpha"] = spec.alpha;
    j["rank_stabilized"] = spec.rank_stabilized;
  }
  const RoutedSpec routed = layer.routed();
  if (routed.experts) j["experts"] = to_json(*routed.experts);
  if (const auto& act = routed.act)
    j["act"] = {{"max_steps", act->max_steps},
                {"epsilon", act->epsilon},
                {"ponder", act->ponder},
                {"loss", name_of(act->loss)}};
  return j;
}

Json layer_to_json(const MoRALayer& layer) {
  if (const auto* routed = dynamic_cast<const RoutedLayer*>(&layer)) return routed_to_json(*routed);
  const AdapterSpec& spec = layer.spec();
  Json j;
  j["kind"] = name_of(spec.kind);
  if (spec.kind == AdapterSpec::Kind::whole) return j;
  if (const auto* mora = dynamic_cast<const MoRA*>(&layer)) {
    j["operator"] = name_of(mora->op().kind);
    j["side"] = mora->op().rank;
    for (const MoRA::Folded& h : mora->history())
      j["history"].push_back({{"operator", name_of(h.op.kind)}, {"side", h.op.rank}});
  } else {
    j["alpha"] = spec.alpha;
    j["rank_stabilized"] = spec.rank_stabilized;
    if (const auto* lora = dynamic_cast<const LoRA*>(&layer)) {
      j["scaling_rank"] = spec.rank;
      j["origin"] = lora->has_origin();
    }
  }
  j["rank"] = layer.rank();
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

// The tensors MODULE.NAME of one module.
struct ModuleFile {
  const SafetensorsFile& file;
  std::string module;
  Tensor operator()(const std::string& name, const Shape& shape) const {
    return read_tensor(file, module + "." + name, shape);
  }
};

std::unique_ptr<MoRALayer> lora_from_json(AdapterSpec spec, const JsonFields& fields, const ModuleFile& read,
                                          const FrozenWeightPtr& w, uint64_t index) {
  const int64_t rank = fields.integer("rank", 1, largest_side);
  spec.rank = fields.integer("scaling_rank", 1, largest_side, rank);
  spec.alpha = fields.number("alpha", 1e-30, 1e30);
  spec.rank_stabilized = fields.boolean("rank_stabilized", false);
  const Tensor a = read("lora_A", {rank, w->in()}), b = read("lora_B", {w->out(), rank});
  if (spec.kind == AdapterSpec::Kind::dora)
    return std::make_unique<DoRA>(spec, a, b, read("lora_magnitude_vector", {w->out()}), w, index);
  if (spec.kind == AdapterSpec::Kind::adalora)
    return std::make_unique<AdaLoRA>(spec, a, b, read("lora_E", {rank, 1}), index);
  if (!fields.boolean("origin", false)) return std::make_unique<LoRA>(spec, a, b, index);
  const LoraFactors origin{read("origin_A", {spec.rank, w->in()}), read("origin_B", {w->out(), spec.rank})};
  return std::make_unique<LoRA>(spec, a, b, index, origin);
}

// An operator of a side that it can have; IoError that names the field where it cannot.
kernels::MoraOperator operator_from_json(const JsonFields& fields, const kernels::FrozenWeight& w) {
  const kernels::MoraOperator op{parse_operator(fields.string("operator"), fields.place("operator")), w.in(), w.out(),
                                 fields.integer("side", 1, largest_side)};
  try {
    op.check();
  } catch (const ShapeError& error) {
    fail<IoError>("{}: {}", fields.place("side"), error.what());
  }
  return op;
}

// What a MoRA layer folded: "history": [{"operator", "side"}, …] with the tensors history.0.M, …
std::vector<MoRA::Folded> history_from_json(const JsonFields& fields, const ModuleFile& read,
                                            const kernels::FrozenWeight& w) {
  std::vector<MoRA::Folded> history;
  const nlohmann::json* list = fields.find("history");
  require<IoError>(!list || list->is_array(), "{}: expected an array", fields.place("history"));
  for (size_t i = 0; list && i < list->size(); ++i) {
    const JsonFields entry((*list)[i], fmt::format("{}[{}]", fields.place("history"), i));
    const kernels::MoraOperator op = operator_from_json(entry, w);
    history.push_back({op, read(fmt::format("history.{}.M", i), {op.rank, op.rank}).detach()});
  }
  return history;
}

RoutingSpec routing_from_json(const JsonFields& fields) {
  RoutingSpec routing;
  routing.rule = parse_routing(fields.string("routing"), fields.place("routing"));
  routing.levels.clear();
  int64_t nodes = 1;
  for (const nlohmann::json& children : fields.require_member("levels")) {
    routing.levels.push_back(integer_in(children, 1, largest_side, fields.place("levels")));
    require<IoError>((nodes *= routing.levels.back()) <= largest_side, "{}: too many experts", fields.place("levels"));
  }
  require<IoError>(!routing.levels.empty(), "{}: no level", fields.place("levels"));
  routing.top_k = fields.integer("top_k", 1, largest_side);
  routing.top_p = fields.number("top_p", 0, 1);
  if (fields.find("threshold")) routing.threshold = fields.number("threshold", 0, 1);
  routing.capacity = fields.number("capacity", 1e-30, 1e30);
  routing.noise = fields.number("noise", 0, 1);
  routing.balance = fields.number("balance", 0, 1e30);
  routing.z_loss = fields.number("z_loss", 0, 1e30);
  routing.entropy = fields.number("entropy", 0, 1e30);
  try {
    routing.check();
  } catch (const ConfigError& error) {
    fail<IoError>("{}: {}", fields.place("routing"), error.what());
  }
  return routing;
}

HaltingSpec halting_from_json(const JsonFields& fields) {
  return {.max_steps = fields.integer("max_steps", 1, largest_side),
          .epsilon = fields.number("epsilon", 0, 0.999999),
          .ponder = fields.number("ponder", 0, 1e30),
          .loss = parse_ponder_loss(fields.string("loss"), fields.place("loss"))};
}

std::unique_ptr<MoRALayer> routed_from_json(AdapterSpec spec, const JsonFields& fields, const ModuleFile& read,
                                            const kernels::FrozenWeight& w, uint64_t index) {
  spec.rank = fields.integer("rank", 1, largest_side);
  if (spec.kind == AdapterSpec::Kind::mora) {
    spec.op = parse_operator(fields.string("operator"), fields.place("operator"));
  } else {
    spec.alpha = fields.number("alpha", 1e-30, 1e30);
    spec.rank_stabilized = fields.boolean("rank_stabilized", false);
  }
  RoutedSpec routed;
  if (const nlohmann::json* experts = fields.find("experts"))
    routed.experts = routing_from_json({*experts, fields.place("experts")});
  if (const nlohmann::json* act = fields.find("act")) routed.act = halting_from_json({*act, fields.place("act")});
  return std::make_unique<RoutedLayer>(spec, routed, w.in(), w.out(), index, read);
}

std::unique_ptr<MoRALayer> embedding_from_json(AdapterSpec spec, const JsonFields& fields, const ModuleFile& read,
                                               const kernels::FrozenWeight& w, DType activations) {
  require<IoError>(spec.kind == AdapterSpec::Kind::lora, "{}: {}: the module is an embedding, expected lora",
                   fields.place("kind"), name_of(spec.kind));
  spec.rank = fields.integer("rank", 1, largest_side);
  spec.alpha = fields.number("alpha", 1e-30, 1e30);
  spec.rank_stabilized = fields.boolean("rank_stabilized", false);
  spec.dropout = fields.number("dropout", 0, 0.999999);
  const Tensor a = read("lora_embedding_A", {w.in(), spec.rank}), b = read("lora_embedding_B", {w.out(), spec.rank});
  return std::make_unique<EmbeddingLoRA>(spec, a, b, activations);
}

std::unique_ptr<MoRALayer> layer_from_json(const JsonFields& fields, const ModuleFile& read,
                                           const MoRAModel::Place& place, DType activations) {
  const FrozenWeightPtr& w = (*place.slot)->frozen();
  const uint64_t index = place.index;
  AdapterSpec spec;
  spec.kind = parse_adapter_kind(fields.string("kind"), fields.place("kind"));
  if (place.embedding) return embedding_from_json(spec, fields, read, *w, activations);
  if (spec.kind == AdapterSpec::Kind::whole) {
    return std::make_unique<WholeLinear>(w, read("weight", w->meta().shape),
                                         w->bias().defined() ? read("bias", {w->out()}) : Tensor());
  }
  spec.dropout = fields.number("dropout", 0, 0.999999);
  if (fields.find("experts") || fields.find("act")) return routed_from_json(spec, fields, read, *w, index);
  if (spec.kind != AdapterSpec::Kind::mora) return lora_from_json(spec, fields, read, w, index);
  spec.rank = fields.integer("rank", 1, largest_side);
  const kernels::MoraOperator op = operator_from_json(fields, *w);
  spec.op = op.kind;
  auto layer = std::make_unique<MoRA>(spec, w->in(), w->out(), op.rank, index);
  const Tensor matrix = read("M", {op.rank, op.rank});
  layer->visit_parameters([&](const std::string&, Tensor& m) { m = matrix; });
  layer->set_history(history_from_json(fields, read, *w));
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
  AdapterInfo info{fields.string("base_model", ""), fields.string("task", ""), fields.string("pooling", ""),
                   fields.strings("labels")};
  const std::string& pooling = info.pooling;
  require<IoError>(pooling.empty() || pooling == "pooler" || pooling == "cls" || pooling == "mean",
                   "{}: {}: expected pooler, cls or mean", fields.place("pooling"), quote(pooling));
  std::set<std::string> names;
  for (const std::string& label : info.labels)
    require<IoError>(names.insert(label).second, "{}: two classes are called {}", fields.place("labels"), quote(label));
  return info;
}

bool is_native(const std::filesystem::path& directory) {
  if (std::filesystem::exists(directory / "mora_config.json")) return true;
  require<IoError>(std::filesystem::exists(directory / "adapter_config.json"),
                   "{}: no adapter here: neither mora_config.json nor adapter_config.json{}", directory.string(),
                   std::filesystem::exists(directory / "adapter") ? "; a run's is in its adapter/" : "");
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
  for (const auto& [module, value] : modules.items()) {
    const auto place = model.find(module);
    require<ConfigError>(
        place.has_value(),
        "{}: module '{}': this {} model has none of that name; the adapter was made for another model ({})",
        config_path.string(), module, model.base().config().model_type, info.base_model);
    model.attach(module, layer_from_json(JsonFields(value, fields.place("modules") + "." + module), {file, module},
                                         *place, model.base().dtype()));
  }
  load_classifier(model, info, file);
  std::set<std::string> known;
  const auto insert = [&](const std::string& name, Tensor&) { known.insert(name); };
  model.visit_parameters(insert);
  model.visit_constants(insert);
  for (const TensorInfo& t : file.tensors()) {
    require<IoError>(known.contains(t.name), "{}: tensor '{}' belongs to no module of mora_config.json",
                     file.path().string(), t.name);
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
  const auto add = [&](const std::string& name, Tensor& value) { tensors[name] = value.detach(); };
  model.visit_parameters(add);
  model.visit_constants(add);
  write_safetensors(directory / "adapter.safetensors", tensors, {{"format", "mora"}});
  write_durable(directory / "mora_config.json", config.dump(2) + "\n");
}

void replace_adapter(const std::filesystem::path& directory, MoRAModel& model, const AdapterInfo& info) {
  StagedDirectory staged(directory);
  save_adapter(staged.path(), model, info);
  staged.commit();
}

AdapterInfo read_adapter_info(const std::filesystem::path& directory) {
  if (!is_native(directory)) return read_peft_info(directory);
  const auto path = directory / "mora_config.json";
  const nlohmann::json document = read_json(path);
  return native_info(JsonFields(document, path.string()));
}

AdapterInfo load_adapter(const std::filesystem::path& directory, MoRAModel& model) {
  return is_native(directory) ? load_native(directory, model) : load_peft(directory, model);
}

}  // namespace mora
