#include "mora/training/orthogonal_updates.h"

#include <map>
#include <numeric>

#include "autograd/ops/arithmetic.h"
#include "autograd/ops/elementary.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/reduce.h"
#include "autograd/ops/shape.h"
#include "kernels/copy.h"
#include "mora/adapters/embedding_lora.h"
#include "mora/adapters/lora.h"
#include "mora/adapters/mora.h"
#include "mora/experts/routed_layer.h"

namespace mora {
namespace {

// Components that earlier tasks left: all but the last r.
int64_t past_components(const LoRA& layer) { return layer.rank() - layer.spec().rank; }

// The pairs (earlier rows, new rows) of a layer, as matrices over the same inputs.
std::vector<std::pair<Tensor, Tensor>> row_spaces(MoRALayer& layer) {
  std::vector<std::pair<Tensor, Tensor>> pairs;
  if (auto* mora = dynamic_cast<MoRA*>(&layer)) {
    for (const MoRA::Folded& h : mora->history())
      if (h.op.kind == mora->op().kind && h.op.rank == mora->op().rank)  // another operator reads another space
        pairs.emplace_back(h.matrix, mora->matrix());
  } else if (auto* lora = dynamic_cast<LoRA*>(&layer); lora && past_components(*lora) > 0) {
    layer.visit_parameters([&](const std::string& name, Tensor& a) {
      const int64_t past = past_components(*lora);
      if (name == "lora_A") pairs.emplace_back(slice(a.detach(), 0, 0, past), slice(a, 0, past, a.dim(0) - past));
    });
  }
  return pairs;
}

// The first `count` components along `dim`, a view.
Tensor first_components(const Tensor& t, int dim, int64_t count) { return slice(t.detach(), dim, 0, count); }

}  // namespace

OrthogonalUpdates::OrthogonalUpdates(MoRAModel& model, double weight, uint64_t seed)
    : model_(model), weight_(weight), seed_(seed) {
  for (const auto& [path, linear] : model.adapted()) {
    const AdapterSpec& spec = linear->layer().spec();
    const auto* lora = dynamic_cast<const LoRA*>(&linear->layer());
    require<ConfigError>(!dynamic_cast<const RoutedLayer*>(&linear->layer()),
                         "continual.kind: olora: module '{}' has experts or adaptive steps, which it cannot keep apart",
                         path);
    require<ConfigError>(
        !dynamic_cast<const EmbeddingLoRA*>(&linear->layer()),
        "continual.kind: olora: module '{}' is an embedding, whose inputs are orthogonal already; leave it out of "
        "adapter.targets",
        path);
    const bool plain = spec.kind == AdapterSpec::Kind::lora && !lora->has_origin() && past_components(*lora) >= 0;
    require<ConfigError>(spec.kind == AdapterSpec::Kind::mora || plain,
                         "continual.kind: olora: module '{}' has a {} adapter; it needs mora, lora or rslora with init "
                         "default or gaussian",
                         path, name_of(spec.kind));
  }
}

void OrthogonalUpdates::begin_task(int64_t task) {
  for (const auto& [path, linear] : model_.adapted()) {
    MoRALayer& layer = linear->layer();
    if (auto* mora = dynamic_cast<MoRA*>(&layer)) {
      mora->fold(mora->spec().op, mora->spec().rank);
      linear->rebase();
      continue;
    }
    auto& lora = dynamic_cast<LoRA&>(layer);
    std::vector<int64_t> all(size_t(lora.rank()));
    std::iota(all.begin(), all.end(), 0);
    lora.resize(
        all, lora.spec().rank,
        RandomStream(
            {.seed = seed_, .step = uint64_t(task), .layer = model_.find(path)->index, .purpose = Purpose::init}));
  }
}

void OrthogonalUpdates::protect(std::span<const Parameter> parameters) {
  protected_.clear();
  std::map<std::string, size_t> indices;
  for (size_t i = 0; i < parameters.size(); ++i) indices[parameters[i].name] = i;
  for (const auto& [path, linear] : model_.adapted()) {
    const auto* lora = dynamic_cast<const LoRA*>(&linear->layer());
    if (!lora || past_components(*lora) == 0) continue;
    const int64_t count = past_components(*lora);
    linear->layer().visit_parameters([&, &module = path](const std::string& name, Tensor& value) {
      const int dim = *component_dimension(name);
      const Tensor past = kernels::copied(first_components(value, dim, count));
      protected_.push_back({indices.at(module + "." + name), value, past, dim});
    });
  }
}

Tensor OrthogonalUpdates::penalty() const {
  Tensor total;
  for (const auto& [path, linear] : model_.adapted()) {
    for (const auto& [past, fresh] : row_spaces(linear->layer())) {
      const Tensor overlap = sum(absolute(matmul(past, fresh, false, true)));
      total = total.defined() ? total + overlap : overlap;
    }
  }
  return total.defined() ? total * weight_ : total;
}

void OrthogonalUpdates::mask(Tensors& gradients) const {
  for (const Protected& p : protected_) {
    Tensor past = first_components(gradients[p.parameter], p.dim, p.past.dim(p.dim));
    kernels::copy(full_like(past, 0, past.shape()), past);
  }
}

void OrthogonalUpdates::after_update() {
  for (Protected& p : protected_) {
    Tensor past = first_components(p.value, p.dim, p.past.dim(p.dim));
    kernels::copy(p.past, past);
  }
}

}  // namespace mora
