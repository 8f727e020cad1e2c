#include "mora/rank/rank_events.h"

#include <cmath>
#include <cstring>

#include "mora/adapters/lora.h"
#include "mora/adapters/mora.h"

namespace mora {
namespace {

using Kind = AdapterSpec::Kind;

constexpr const char* initial_budget_name = "initial_budget";

// The adapted layers with their places among the optimizer's parameters.
std::map<std::string, LayerParameters> layers_of(MoRAModel& model, const MoRAOptimizer& optimizer) {
  std::map<std::string, size_t> indices;
  for (size_t i = 0; i < optimizer.parameters().size(); ++i) indices[optimizer.parameters()[i].name] = i;
  std::map<std::string, LayerParameters> layers;
  for (const auto& [path, linear] : model.adapted()) {
    if (linear->layer().spec().kind == Kind::whole) continue;
    LayerParameters& layer = layers[path];
    layer.layer = &linear->layer();
    layer.layer->visit_parameters([&, &module = path](const std::string& name, Tensor&) {
      layer.indices.push_back(indices.at(module + "." + name));
    });
  }
  return layers;
}

// Folds a MoRA layer and starts a new M.
void restart(MoRALinear& linear, MoRAOptimizer& optimizer, size_t parameter, kernels::OperatorKind op, int64_t rank) {
  auto& layer = dynamic_cast<MoRA&>(linear.layer());
  layer.fold(op, rank);
  linear.rebase();
  optimizer.restart(parameter, layer.matrix());
}

}  // namespace

double RankEvent::mean_rank() const {
  double total = 0;
  for (const auto& [path, rank] : ranks) total += double(rank);
  return ranks.empty() ? 0 : total / double(ranks.size());
}

std::map<std::string, int64_t> ranks_of(const MoRAModel& model) {
  std::map<std::string, int64_t> ranks;
  for (const auto& [path, linear] : model.adapted())
    if (linear->layer().spec().kind != Kind::whole) ranks[path] = linear->layer().rank();
  return ranks;
}

RankAllocator::RankAllocator(MoRAModel& model, MoRAOptimizer& optimizer, const AllocationOptions& options)
    : model_(model), optimizer_(optimizer), options_(options), layers_(layers_of(model, optimizer)) {
  std::vector<LayerParameters> layers;
  for (const auto& [path, layer] : layers_) {
    layers.push_back(layer);
    schedule_.initial += layer.layer->rank();
  }
  schedule_.final = std::llround(options.budget * double(layers_.size()));
  schedule_.start = options.start;
  schedule_.end = options.end;
  schedule_.interval = options.interval;
  importance_.emplace(options.importance, optimizer.parameters(), layers);
}

std::optional<RankEvent> RankAllocator::after_update(int64_t update, std::span<const Tensor> gradients) {
  if (update > schedule_.end) return {};
  importance_->observe(optimizer_.parameters(), gradients);
  if (!schedule_.is_event(update)) return {};
  std::vector<std::vector<double>> scores;
  for (const auto& [path, layer] : layers_)
    scores.push_back(importance_->scores(layer, optimizer_.parameters(), gradients));
  const auto allocations = allocate(scores, schedule_.at(update), options_.limits);
  size_t l = 0;
  for (const auto& [path, layer] : layers_) apply(layer, path, allocations[l++], update);
  return RankEvent{"allocation", ranks_of(model_)};
}

void RankAllocator::apply(const LayerParameters& layer, const std::string& path, const LayerAllocation& allocation,
                          int64_t update) {
  const int64_t before = layer.layer->rank();
  if (allocation.rank() == before && allocation.added == 0) return;
  if (layer.layer->spec().kind == Kind::mora) {
    const size_t i = layer.indices.front();
    restart(*model_.adapted().at(path), optimizer_, i, layer.layer->spec().op, allocation.rank());
    importance_->restart(i, optimizer_.parameters()[i].value);
    return;
  }
  const RandomStream stream(
      {.seed = options_.seed, .step = uint64_t(update), .layer = model_.find(path)->index, .purpose = Purpose::init});
  dynamic_cast<LoRA&>(*layer.layer).resize(allocation.kept, allocation.added, stream);
  size_t next = 0;
  layer.layer->visit_parameters([&](const std::string& name, Tensor& value) {
    const size_t i = layer.indices[next++];
    const std::optional<int> dim = component_dimension(name);
    if (!dim) return;
    const auto select = [&](const Tensor& t) { return select_components(t, *dim, allocation.kept, allocation.added); };
    optimizer_.resize(i, value, select);
    importance_->resize(i, select);
  });
}

std::vector<NamedTensor> RankAllocator::state() const {
  std::vector<NamedTensor> list = importance_->state(optimizer_.parameters());
  list.push_back({initial_budget_name, Tensor::from(std::vector<int64_t>{schedule_.initial}, {1})});
  return list;
}

void RankAllocator::load_state(std::span<const NamedTensor> saved) {
  for (NamedTensor& mine : state()) {
    const auto found =
        std::find_if(saved.begin(), saved.end(), [&](const NamedTensor& t) { return t.name == mine.name; });
    require<IoError>(found != saved.end() && found->tensor.meta() == mine.tensor.meta(),
                     "rank state: '{}' is missing or does not fit", mine.name);
    if (mine.name == initial_budget_name)
      schedule_.initial = *found->tensor.data<int64_t>();
    else
      std::memcpy(mine.tensor.mutable_raw(), found->tensor.raw(), mine.tensor.bytes());
  }
}

RankEvent restart_all(MoRAModel& model, MoRAOptimizer& optimizer, const RestartOptions& options, int64_t number) {
  for (const auto& [path, layer] : layers_of(model, optimizer)) {
    const AdapterSpec& spec = layer.layer->spec();
    const size_t next = size_t(number + 1) % std::max<size_t>(1, options.operators.size());
    restart(*model.adapted().at(path), optimizer, layer.indices.front(),
            options.operators.empty() ? spec.op : options.operators[next], spec.rank);
  }
  return {"restart", ranks_of(model)};
}

}  // namespace mora
