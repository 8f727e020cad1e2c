#include "mora/mora_model.h"

#include <algorithm>

#include "autograd/ops/arithmetic.h"
#include "loaders/module_pattern.h"
#include "loaders/nearest.h"
#include "mora/adapters/adalora.h"
#include "mora/adapters/embedding_lora.h"
#include "mora/adapters/whole_linear.h"

namespace mora {
namespace {

bool ends_with_module(std::string_view path, std::string_view name) {
  return path == name ||
         (path.size() > name.size() && path.ends_with(name) && path[path.size() - name.size() - 1] == '.');
}

// What the nearest name is looked for among: the last word of each path, and the path.
std::vector<std::string> module_names(Model& model) {
  std::vector<std::string> names;
  auto add = [&](const std::string& path, LinearSlot&) {
    names.push_back(path);
    names.push_back(path.substr(path.rfind('.') + 1));
  };
  model.visit_linears(add);
  model.visit_extra_linears(add);
  model.visit_embeddings(add);
  return names;
}

[[noreturn]] void fail_without_match(Model& model, std::string_view key, const std::string& target) {
  const std::vector<std::string> names = module_names(model);
  const std::string nearest = nearest_name(target, names);
  fail<ConfigError>(
      "{}: '{}' matches no linear or embedding of this {} model; {}", key, target, model.config().model_type,
      nearest.empty() ? fmt::format("its first is {}", names.front()) : fmt::format("did you mean '{}'?", nearest));
}

template <class Value>
void check_used(const std::map<std::string, Value>& patterns, const std::vector<std::string>& paths,
                std::string_view key) {
  for (const auto& [expression, value] : patterns) {
    const auto matches = [&, &e = expression](const std::string& path) { return matches_from_dot(e, path, key); };
    require<ConfigError>(std::any_of(paths.begin(), paths.end(), matches), "{}: '{}' matches no adapted module", key,
                         expression);
  }
}

// An embedding's rows are looked up, not multiplied: of the methods LoRA alone is computed so.
void check_embedding(const std::string& path, const AdapterSpec& spec, const RoutedSpec& routed) {
  using enum AdapterSpec::Init;
  constexpr const char* advice = "take one of them, or leave it out of adapter.targets";
  require<ConfigError>(spec.kind == AdapterSpec::Kind::lora,
                       "adapter.kind: {}: '{}' is an embedding, which lora and rslora adapt; {}", name_of(spec.kind),
                       path, advice);
  require<ConfigError>(spec.init == kaiming || spec.init == gaussian,
                       "adapter.init: '{}' is an embedding, which default and gaussian start; {}", path, advice);
  require<ConfigError>(!routed.any(),
                       "adapter.experts: '{}' is an embedding, which has none; leave it out of adapter.targets", path);
}

void bring(Classifier& classifier, Device device) {
  for (Tensor* t : {&classifier.weight, &classifier.bias})
    if (t->device() != device) *t = leaf(t->to(device));
}

// A layer's visitor that puts the path of its module before each name.
auto below(const std::string& module, MoRALayer::ParameterVisitor visit) {
  return [&module, visit](const std::string& name, Tensor& value) { visit(module + "." + name, value); };
}

}  // namespace

// The linears of the blocks, then those outside and the embeddings, numbered in that order.
std::vector<MoRAModel::Place> MoRAModel::places(bool outside_blocks) {
  std::vector<Place> list;
  bool embedding = false;
  auto add = [&](const std::string& path, LinearSlot& slot) {
    list.push_back({path, &slot, list.size() + 1, embedding});
  };
  base_->visit_linears(add);
  if (!outside_blocks) return list;
  base_->visit_extra_linears(add);
  embedding = true;
  base_->visit_embeddings(add);
  return list;
}

void MoRAModel::add_adapters(const AdapterSpec& spec, const Targets& targets, uint64_t seed,
                             const AdapterPatterns& patterns, const RoutedSpec& routed) {
  std::vector<std::string> adapted;
  for (const Place& place : targeted(targets)) {
    AdapterSpec own = spec;
    own.rank = value_of_module(patterns.rank, place.path, "adapter.rank_pattern", spec.rank);
    own.alpha = value_of_module(patterns.alpha, place.path, "adapter.alpha_pattern", spec.alpha);
    adapted.push_back(place.path);
    if (adapted_.contains(place.path)) continue;
    put(place, fresh_layer(place, own, seed, routed));
  }
  check_used(patterns.rank, adapted, "adapter.rank_pattern");
  check_used(patterns.alpha, adapted, "adapter.alpha_pattern");
}

std::unique_ptr<MoRALayer> MoRAModel::fresh_layer(const Place& place, const AdapterSpec& spec, uint64_t seed,
                                                  const RoutedSpec& routed) const {
  const FrozenWeightPtr& w = (*place.slot)->frozen();
  if (place.embedding) {
    check_embedding(place.path, spec, routed);
    check_rank(spec, w->in(), w->out());
    return std::make_unique<EmbeddingLoRA>(spec, w->in(), w->out(), base_->dtype(), seed, place.index);
  }
  if (routed.any()) return RoutedLayer::fresh(spec, routed, w->in(), w->out(), seed, place.index);
  return make_layer(spec, w, seed, place.index);
}

std::vector<MoRAModel::Place> MoRAModel::targeted(const Targets& targets) {
  const auto* word = std::get_if<std::string>(&targets);
  if (word && *word == "all-linear") return places(false);
  std::vector<Place> list = places(true);
  if (word) {
    const ModulePattern pattern(*word, "adapter.targets");
    std::erase_if(list, [&](const Place& place) { return !pattern.matches(place.path); });
    if (list.empty()) fail_without_match(*base_, "adapter.targets", *word);
    return list;
  }
  return ending_with(std::get<std::vector<std::string>>(targets), "adapter.targets");
}

// The modules whose paths end with one of the names.
std::vector<MoRAModel::Place> MoRAModel::ending_with(const std::vector<std::string>& names, std::string_view key) {
  std::vector<Place> list = places(true);
  for (const std::string& name : names) {
    const auto has_name = [&](const Place& place) { return ends_with_module(place.path, name); };
    if (std::none_of(list.begin(), list.end(), has_name)) fail_without_match(*base_, key, name);
  }
  std::erase_if(list, [&](const Place& place) {
    return std::none_of(names.begin(), names.end(),
                        [&](const std::string& name) { return ends_with_module(place.path, name); });
  });
  return list;
}

void MoRAModel::train_whole(const std::vector<std::string>& names) {
  for (const Place& place : ending_with(names, "adapter.modules_to_save")) {
    require<ConfigError>(!place.embedding,
                         "adapter.modules_to_save: '{}' is an embedding, which is not trained whole; name it in "
                         "adapter.targets",
                         place.path);
    put(place, std::make_unique<WholeLinear>((*place.slot)->frozen()));
  }
}

std::optional<MoRAModel::Place> MoRAModel::find(const std::string& module) {
  std::optional<Place> found;
  for (const Place& place : places(true))
    if (ends_with_module(place.path, module)) found = place;
  return found;
}

void MoRAModel::attach(const std::string& module, std::unique_ptr<MoRALayer> layer) {
  const std::optional<Place> place = find(module);
  require<ConfigError>(place.has_value(),
                       "the adapter has a module '{}' that this {} model lacks: it was made for another model", module,
                       base_->config().model_type);
  require<ConfigError>(!adapted_.contains(place->path), "the adapter has two entries for module '{}'", place->path);
  put(*place, std::move(layer));
}

void MoRAModel::put(const Place& place, std::unique_ptr<MoRALayer> layer) {
  layer->to(base_->device());
  auto linear = std::make_unique<MoRALinear>(std::move(*place.slot), std::move(layer));
  adapted_[place.path] = linear.get();
  *place.slot = std::move(linear);
}

void MoRAModel::to(Device device) {
  base_->to(device);
  for (const auto& [path, linear] : adapted_) linear->layer().to(device);
  if (classifier_) bring(*classifier_, device);
}

std::map<std::string, std::unique_ptr<MoRALinear>> MoRAModel::take_adapters() {
  std::map<std::string, std::unique_ptr<MoRALinear>> taken;
  for (const Place& place : places(true)) {
    const auto found = adapted_.find(place.path);
    if (found == adapted_.end()) continue;
    place.slot->release();  // the slot's linear is the one that `found` points to
    taken.emplace(place.path, found->second);
    *place.slot = found->second->release();
  }
  adapted_.clear();
  return taken;
}

void MoRAModel::set_head(Pooling pooling, Classifier classifier) {
  pooling_ = pooling;
  classifier_ = std::move(classifier);
  bring(*classifier_, base_->device());
}

Tensor MoRAModel::logits(const Sequences& sequences, Context& context) const {
  require<ConfigError>(classifier_.has_value(), "this model has no classification head");
  return classifier_->forward(base_->pooled(sequences, pooling_, context));
}

void MoRAModel::visit_parameters(MoRALayer::ParameterVisitor visit) {
  for (const auto& [path, linear] : adapted_) linear->layer().visit_parameters(below(path, visit));
  if (!classifier_) return;
  visit("classifier.weight", classifier_->weight);
  visit("classifier.bias", classifier_->bias);
}

void MoRAModel::visit_constants(MoRALayer::ParameterVisitor visit) {
  for (const auto& [path, linear] : adapted_) linear->layer().visit_constants(below(path, visit));
}

// ½ · the mean over all A and B of ‖AAᵀ − I‖ and ‖BᵀB − I‖: the weight that AdaLoRA's authors and PEFT give it.
Tensor MoRAModel::penalty() const {
  constexpr double weight = 0.5;
  Tensor total;
  int64_t tensors = 0;
  for (const auto& [path, linear] : adapted_) {
    const auto* layer = dynamic_cast<const AdaLoRA*>(&linear->layer());
    if (!layer) continue;
    total = total.defined() ? total + layer->orthogonality() : layer->orthogonality();
    tensors += 2;
  }
  return total.defined() ? total * (weight / double(tensors)) : total;
}

int64_t MoRAModel::trainable_parameters() {
  int64_t total = 0;
  visit_parameters([&](const std::string&, Tensor& value) { total += value.numel(); });
  return total;
}

}  // namespace mora
