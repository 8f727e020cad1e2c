#include "mora/peft_directory.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "autograd/ops/shape.h"
#include "loaders/peft.h"
#include "mora/adapters/adalora.h"
#include "mora/adapters/dora.h"
#include "mora/adapters/embedding_lora.h"
#include "mora/adapters/whole_linear.h"
#include "mora/model_head.h"

namespace mora {
namespace {

using Kind = AdapterSpec::Kind;

// --- reading --------------------------------------------------------------------------------------------------------

AdapterInfo info_of(const PeftAdapter& adapter) {
  const PeftConfig& config = adapter.config;
  const std::string task = config.task_type == "SEQ_CLS"     ? "classification"
                           : config.task_type == "CAUSAL_LM" ? "causal_lm"
                                                             : "";
  return {config.base_model, task, "", adapter.labels};
}

Tensor f32(const Tensor& t) { return contiguous(cast(t, DType::f32)); }

AdapterSpec spec_of(const PeftConfig& config, const std::string& module, int64_t rank) {
  AdapterSpec spec;
  spec.kind = config.kind == PeftConfig::Kind::adalora ? Kind::adalora : config.use_dora ? Kind::dora : Kind::lora;
  spec.rank = spec.kind == Kind::adalora ? config.r : rank;
  spec.alpha = config.alpha_of(module);
  spec.rank_stabilized = config.use_rslora;
  spec.dropout = config.lora_dropout;
  return spec;
}

std::unique_ptr<MoRALayer> layer_of(const PeftConfig& config, const std::string& module, const PeftModule& tensors,
                                    const MoRAModel::Place& place, DType activations) {
  const FrozenWeightPtr& w = (*place.slot)->frozen();
  AdapterSpec spec = spec_of(config, module, tensors.a.dim(0));
  const Tensor a = f32(place.embedding ? transpose(tensors.a) : tensors.a), b = f32(tensors.b);
  if (place.embedding) return std::make_unique<EmbeddingLoRA>(spec, a, b, activations);
  if (spec.kind == Kind::adalora) return std::make_unique<AdaLoRA>(spec, a, b, f32(tensors.e), place.index);
  if (spec.kind == Kind::dora) return std::make_unique<DoRA>(spec, a, b, f32(tensors.magnitude), w, place.index);
  const std::string& init = config.init_lora_weights;
  if (init != "olora" && !init.starts_with("pissa")) return std::make_unique<LoRA>(spec, a, b, place.index);
  const double scaling = config.scaling_of(module);
  return std::make_unique<LoRA>(spec, a, b, place.index,
                                init == "olora" ? olora_factors(w->weight(), spec.rank)
                                                : pissa_factors(w->weight(), spec.rank, scaling, 0, place.index));
}

// PEFT saves an embedding's table with its adapter: it must be the model's, to the precision of bf16, lest something
// trained or resized be lost.
void check_base(const Tensor& saved, const kernels::FrozenWeight& w, const std::string& where) {
  const Tensor table = transpose(w.weight());
  bool same = saved.shape() == table.shape();
  if (same) {
    const Tensor theirs = f32(saved), ours = f32(table);
    const auto near = [](float a, float b) { return std::abs(a - b) <= 0x1p-7F * std::abs(b) + 1e-6F; };
    same = std::ranges::equal(theirs.values<float>(), ours.values<float>(), near);
  }
  require<ConfigError>(same,
                       "{}: brings a base_layer.weight {} that is not the model's {}: the embedding was trained or "
                       "resized, which is not supported",
                       where, saved.shape(), table.shape());
}

// Modules trained whole, and the classifier.
void load_saved(const PeftAdapter& adapter, const std::filesystem::path& directory, MoRAModel& model,
                AdapterInfo& info) {
  const std::string where = (directory / "adapter_config.json").string();
  std::set<std::string> modules;
  for (const auto& [name, tensor] : adapter.saved) modules.insert(name.substr(0, name.rfind('.')));
  for (const std::string& module : modules) {
    const auto weight = adapter.saved.find(module + ".weight"), bias = adapter.saved.find(module + ".bias");
    const bool has_bias = bias != adapter.saved.end();
    if (weight == adapter.saved.end()) continue;
    if (module == "classifier" && has_bias) {
      const Shape expected{weight->second.dim(0), model.base().config().hidden_size};
      require<ConfigError>(info.labels.empty() || int64_t(info.labels.size()) == expected[0],
                           "{}: {} labels for a classifier of {}", directory.string(), info.labels.size(), expected[0]);
      require<ConfigError>(weight->second.shape() == expected, "{}: classifier.weight {}: the model needs {}", where,
                           weight->second.shape(), expected);
      info.pooling = "pooler";
      model.set_head(resolve_pooling("pooler", model.base(), directory),
                     {leaf(f32(weight->second)), leaf(f32(bias->second))});
    } else if (const auto place = model.find(module)) {
      require<ConfigError>(!place->embedding,
                           "{}: modules_to_save: '{}' is an embedding trained whole, which is not supported", where,
                           module);
      const bool transposed = model.base().config().model_type == "gpt2";  // Conv1D: (in, out)
      const Tensor w = transposed ? transpose(weight->second) : weight->second;
      model.attach(module, std::make_unique<WholeLinear>((*place->slot)->frozen(), f32(w),
                                                         has_bias ? f32(bias->second) : Tensor()));
    }
  }
}

// --- writing --------------------------------------------------------------------------------------------------------

// AdaLoRA has one rank at the start and one alpha for all its modules.
bool fits_adalora(const MoRAModel& model) {
  const AdapterSpec* first = nullptr;
  for (const auto& [path, linear] : model.adapted()) {
    const AdapterSpec& spec = linear->layer().spec();
    if (spec.kind == Kind::whole) continue;
    if (spec.kind != Kind::adalora || (first && (first->rank != spec.rank || first->alpha != spec.alpha))) return false;
    first = &spec;
  }
  return first != nullptr;
}

PeftModule tensors_of(MoRALayer& layer) {
  PeftModule module;
  layer.visit_parameters([&](const std::string& name, Tensor& t) {
    Tensor& target = name == "lora_A"   ? module.a
                     : name == "lora_B" ? module.b
                     : name == "lora_E" ? module.e
                                        : module.magnitude;
    target = t.detach();
  });
  return module;
}

// What α must be for PEFT's scaling at this rank to be `scaling`.
double alpha_for(double scaling, int64_t rank, bool rank_stabilized) {
  return scaling * (rank_stabilized ? std::sqrt(double(rank)) : double(rank));
}

class Writer {
 public:
  Writer(MoRAModel& model, const AdapterInfo& info, bool with_head)
      : model_(model), head_(with_head && model.classifier()), adalora_(fits_adalora(model)) {
    if (head_) adapter_.labels = info.labels;
    PeftConfig& config = adapter_.config;
    config.kind = adalora_ ? PeftConfig::Kind::adalora : PeftConfig::Kind::lora;
    config.task_type = info.task == "causal_lm" ? "CAUSAL_LM" : head_ ? "SEQ_CLS" : "FEATURE_EXTRACTION";
    config.base_model = info.base_model;
    // For feature extraction PEFT opens the bare model, whose module paths do not begin with its name in a task's
    // class.
    if (config.task_type == "FEATURE_EXTRACTION") prefix_ = model.base().config().model_type + ".";
  }

  PeftAdapter write() {
    for (const auto& [full, linear] : model_.adapted()) {
      const std::string path = full.starts_with(prefix_) ? full.substr(prefix_.size()) : full;
      if (linear->layer().spec().kind == Kind::whole)
        add_whole(path, linear->layer());
      else
        add(path, linear->layer());
    }
    if (head_) add_head();
    return std::move(adapter_);
  }

 private:
  void add(const std::string& path, MoRALayer& layer) {
    PeftConfig& config = adapter_.config;
    const AdapterSpec& spec = layer.spec();
    config.lora_dropout = spec.dropout;
    config.use_rslora = spec.rank_stabilized;
    config.target_modules.push_back(path);
    if (adalora_) {
      adapter_.modules[path] = tensors_of(layer);
      config.r = spec.rank;
      config.lora_alpha = spec.alpha;
      return;
    }
    PeftModule& module = adapter_.modules[path];
    double scaling = 1;
    if (spec.kind == Kind::dora) {
      config.use_dora = true;
      module = tensors_of(layer);
      scaling = dynamic_cast<const LoRA&>(layer).scaling();
    } else {
      const LowRank update = layer.as_low_rank();
      module = {.a = update.a, .b = update.b, .magnitude = {}, .e = {}};
      module.embedding = dynamic_cast<const EmbeddingLoRA*>(&layer) != nullptr;
      scaling = update.scaling;
    }
    const int64_t rank = module.a.dim(0);
    const double alpha = alpha_for(scaling, rank, spec.rank_stabilized);
    if (adapter_.modules.size() == 1) config.r = rank, config.lora_alpha = alpha;
    if (rank != config.r) config.rank_pattern[path] = rank;
    if (alpha != config.lora_alpha) config.alpha_pattern[path] = alpha;
  }

  void add_whole(const std::string& path, MoRALayer& layer) {
    adapter_.config.modules_to_save.push_back(path);
    const bool transposed = model_.base().config().model_type == "gpt2";
    layer.visit_parameters([&](const std::string& name, Tensor& t) {
      const Tensor value = t.detach();
      adapter_.saved[path + "." + name] = transposed && name == "weight" ? contiguous(transpose(value)) : value;
    });
  }

  void add_head() {
    require<ConfigError>(model_.pooling() == Pooling::pooler,
                         "a head that pools by {} cannot live in a PEFT adapter, whose model pools by its pooler; "
                         "export --without-head, or merge",
                         name_of(model_.pooling()));
    const std::string& type = model_.base().config().model_type;
    require<ConfigError>(head_module(type) == "classifier",
                         "the head of a {} model is not that of PEFT's model; export --without-head, or merge", type);
    adapter_.config.modules_to_save.push_back("classifier");
    adapter_.saved["classifier.weight"] = model_.classifier()->weight.detach();
    adapter_.saved["classifier.bias"] = model_.classifier()->bias.detach();
  }

  MoRAModel& model_;
  bool head_, adalora_;
  std::string prefix_;
  PeftAdapter adapter_;
};

}  // namespace

AdapterInfo read_peft_info(const std::filesystem::path& directory) { return info_of(read_peft(directory)); }

AdapterInfo load_peft(const std::filesystem::path& directory, MoRAModel& model) {
  const PeftAdapter adapter = read_peft(directory);
  const std::string where = (directory / "adapter_config.json").string();
  AdapterInfo info = info_of(adapter);
  for (const auto& [module, tensors] : adapter.modules) {
    const auto place = model.find(module);
    require<ConfigError>(place && place->embedding == tensors.embedding,
                         "{}: module '{}': this {} model has no such {}; the adapter was made for another model", where,
                         module, model.base().config().model_type, tensors.embedding ? "embedding" : "linear");
    const Linear& linear = **place->slot;
    require<ConfigError>(tensors.a.dim(1) == linear.in() && tensors.b.dim(0) == linear.out(),
                         "{}: module '{}': A {} and B {} do not fit ({}, {})", where, module, tensors.a.shape(),
                         tensors.b.shape(), linear.out(), linear.in());
    if (tensors.base.defined()) check_base(tensors.base, *linear.frozen(), where + ": module '" + module + "'");
    model.attach(module, layer_of(adapter.config, module, tensors, *place, model.base().dtype()));
  }
  load_saved(adapter, directory, model, info);
  return info;
}

void save_peft(const std::filesystem::path& directory, MoRAModel& model, const AdapterInfo& info, bool with_head) {
  write_peft(directory, Writer(model, info, with_head).write());
}

}  // namespace mora
