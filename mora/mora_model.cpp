#include "mora/mora_model.h"

#include "loaders/module_pattern.h"
#include "loaders/nearest.h"

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
  return names;
}

[[noreturn]] void fail_without_match(Model& model, const std::string& target) {
  const std::vector<std::string> names = module_names(model);
  const std::string nearest = nearest_name(target, names);
  fail<ConfigError>(
      "adapter.targets: '{}' matches no linear of this {} model; {}", target, model.config().model_type,
      nearest.empty() ? fmt::format("its first is {}", names.front()) : fmt::format("did you mean '{}'?", nearest));
}

}  // namespace

void MoRAModel::add_adapters(const AdapterSpec& spec, const Targets& targets, uint64_t seed) {
  auto adapt = [&](const std::string& path, LinearSlot& slot) {
    const uint64_t index = adapted_.size() + 1;
    put(path, slot, make_layer(spec, slot->in(), slot->out(), seed, index));
  };
  if (const auto* word = std::get_if<std::string>(&targets); word && *word == "all-linear") {
    base_->visit_linears(adapt);
    return;
  }
  auto visit_all = [&](Model::LinearVisitor visit) {
    base_->visit_linears(visit);
    base_->visit_extra_linears(visit);
  };
  if (const auto* expression = std::get_if<std::string>(&targets)) {
    const ModulePattern pattern(*expression, "adapter.targets");
    visit_all([&](const std::string& path, LinearSlot& slot) {
      if (pattern.matches(path)) adapt(path, slot);
    });
    if (adapted_.empty()) fail_without_match(*base_, *expression);
    return;
  }
  const auto& names = std::get<std::vector<std::string>>(targets);
  std::vector<bool> used(names.size());
  visit_all([&](const std::string& path, LinearSlot& slot) {
    bool wanted = false;
    for (size_t i = 0; i < names.size(); ++i) {
      if (!ends_with_module(path, names[i])) continue;
      wanted = used[i] = true;
    }
    if (wanted) adapt(path, slot);
  });
  for (size_t i = 0; i < names.size(); ++i) {
    if (!used[i]) fail_without_match(*base_, names[i]);
  }
}

LinearSlot* MoRAModel::slot_of(const std::string& module, std::string& path) {
  LinearSlot* found = nullptr;
  auto look = [&](const std::string& at, LinearSlot& slot) {
    if (!ends_with_module(at, module)) return;
    found = &slot;
    path = at;
  };
  base_->visit_linears(look);
  base_->visit_extra_linears(look);
  return found;
}

const Linear* MoRAModel::find(const std::string& module) {
  std::string path;
  const LinearSlot* slot = slot_of(module, path);
  return slot ? slot->get() : nullptr;
}

void MoRAModel::attach(const std::string& module, std::unique_ptr<MoRALayer> layer) {
  std::string path;
  LinearSlot* slot = slot_of(module, path);
  require<ConfigError>(slot != nullptr,
                       "the adapter has a module '{}' that this {} model lacks: it was made for another model", module,
                       base_->config().model_type);
  require<ConfigError>(!adapted_.contains(path), "the adapter has two entries for module '{}'", path);
  put(path, *slot, std::move(layer));
}

void MoRAModel::put(const std::string& path, LinearSlot& slot, std::unique_ptr<MoRALayer> layer) {
  auto linear = std::make_unique<MoRALinear>(std::move(slot), std::move(layer));
  adapted_[path] = linear.get();
  slot = std::move(linear);
}

void MoRAModel::set_head(Pooling pooling, Classifier classifier) {
  pooling_ = pooling;
  classifier_ = std::move(classifier);
}

Tensor MoRAModel::logits(const Sequences& sequences, Context& context) const {
  require<ConfigError>(classifier_.has_value(), "this model has no classification head");
  const Tensor hidden = base_->hidden_states(sequences, context);
  return classifier_->forward(base_->pooled(hidden, sequences, pooling_, context));
}

void MoRAModel::visit_parameters(MoRALayer::ParameterVisitor visit) {
  for (const auto& [path, linear] : adapted_) {
    linear->layer().visit_parameters([&](const std::string& name, Tensor& value) { visit(path + "." + name, value); });
  }
  if (!classifier_) return;
  visit("classifier.weight", classifier_->weight);
  visit("classifier.bias", classifier_->bias);
}

int64_t MoRAModel::trainable_parameters() {
  int64_t total = 0;
  visit_parameters([&](const std::string&, Tensor& value) { total += value.numel(); });
  return total;
}

}  // namespace mora
