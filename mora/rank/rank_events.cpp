#include "mora/rank/rank_events.h"

#include <cmath>

#include "kernels/copy.h"
#include "mora/adapters/lora.h"
#include "mora/adapters/mora.h"
#include "optim/mora_scheduler.h"

namespace mora {
namespace {

using Kind = AdapterSpec::Kind;
using kernels::OperatorKind;

constexpr const char *initial_parameters_name = "initial_parameters", *initial_reach_name = "initial_reach";

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

// The parameters that one rank costs: a row of A and a column of B, with AdaLoRA an entry of E; of MoRA's M (r̂, r̂),
// whose r̂² is that of LoRA's, as many.
int64_t component_size(const MoRALinear& linear) {
  return linear.in() + linear.out() + int64_t(linear.layer().spec().kind == Kind::adalora);
}

// n of MoRAScheduler::rank_scale, up to a constant of the layer.
double reach_of(const MoRALayer& layer) {
  const auto* mora = dynamic_cast<const MoRA*>(&layer);
  if (!mora) return double(layer.rank());
  const double side = double(mora->op().rank);
  switch (mora->op().kind) {
    case OperatorKind::sharing:
    case OperatorKind::group:
    case OperatorKind::group_sharing:
    case OperatorKind::sharing_group: return std::sqrt(double(mora->op().in) * side);
    default: return side;  // it reads inputs as they are, or turned
  }
}

// Folds a MoRA layer and starts a new M.
void restart(MoRALinear& linear, MoRAOptimizer& optimizer, size_t parameter, kernels::OperatorKind op, int64_t rank) {
  auto& layer = dynamic_cast<MoRA&>(linear.layer());
  layer.fold(op, rank);
  linear.rebase();
  optimizer.restart(parameter, layer.matrix());
}

}  // namespace

RankEvent ranks_now(const std::string& kind, const MoRAModel& model) {
  RankEvent event{.kind = kind, .ranks = {}, .mean = 0};
  double parameters = 0, of_rank_one = 0;
  for (const auto& [path, linear] : model.adapted()) {
    if (linear->layer().spec().kind == Kind::whole) continue;
    const int64_t rank = event.ranks[path] = linear->layer().rank();
    parameters += double(rank * component_size(*linear));
    of_rank_one += double(component_size(*linear));
  }
  event.mean = event.ranks.empty() ? 0 : parameters / of_rank_one;
  return event;
}

RankAllocator::RankAllocator(MoRAModel& model, MoRAOptimizer& optimizer, const AllocationOptions& options)
    : model_(model), optimizer_(optimizer), options_(options), layers_(layers_of(model, optimizer)) {
  std::vector<LayerParameters> layers;
  int64_t of_rank_one = 0;
  for (const auto& [path, layer] : layers_) {
    layers.push_back(layer);
    sizes_.push_back(component_size(*model.adapted().at(path)));
    initial_reach_.push_back(reach_of(*layer.layer));
    schedule_.initial += layer.layer->rank() * sizes_.back();
    of_rank_one += sizes_.back();
  }
  schedule_.final = std::llround(options.budget * double(of_rank_one));
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
  const auto allocations = allocate(scores, sizes_, schedule_.at(update), options_.limits);
  size_t l = 0;
  for (const auto& [path, layer] : layers_) apply(layer, path, allocations[l++], update);
  scale_rates();
  return ranks_now("allocation", model_);
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

// Of what a rank event resizes; DoRA's magnitudes are as many as ever.
void RankAllocator::scale_rates() {
  if (!options_.scale_lr) return;
  size_t l = 0;
  for (const auto& [path, layer] : layers_) {
    const double scale = MoRAScheduler::rank_scale(initial_reach_[l++], reach_of(*layer.layer));
    const bool square = layer.layer->spec().kind == Kind::mora;
    size_t next = 0;
    layer.layer->visit_parameters([&, &indices = layer.indices](const std::string& name, Tensor&) {
      const size_t i = indices[next++];
      if (square || component_dimension(name)) optimizer_.set_rank_scale(i, scale);
    });
  }
}

std::vector<NamedTensor> RankAllocator::state() const {
  std::vector<NamedTensor> list = importance_->state(optimizer_.parameters());
  list.push_back({initial_parameters_name, Tensor::from(std::vector<int64_t>{schedule_.initial}, {1})});
  list.push_back({initial_reach_name, Tensor::from(initial_reach_, {std::ssize(initial_reach_)})});
  return list;
}

void RankAllocator::load_state(std::span<const NamedTensor> saved) {
  for (NamedTensor& mine : state()) {
    const auto found =
        std::find_if(saved.begin(), saved.end(), [&](const NamedTensor& t) { return t.name == mine.name; });
    require<IoError>(found != saved.end() && found->tensor.shape() == mine.tensor.shape() &&
                         found->tensor.dtype() == mine.tensor.dtype(),
                     "rank state: '{}' is missing or does not fit", mine.name);
    if (mine.name == initial_parameters_name)
      schedule_.initial = *found->tensor.data<int64_t>();
    else if (mine.name == initial_reach_name)
      std::ranges::copy(found->tensor.values<double>(), initial_reach_.begin());
    else
      kernels::copy(found->tensor.to(mine.tensor.device()), mine.tensor);
  }
  scale_rates();
}

RankEvent restart_all(MoRAModel& model, MoRAOptimizer& optimizer, const RestartOptions& options, int64_t number) {
  for (const auto& [path, layer] : layers_of(model, optimizer)) {
    const AdapterSpec& spec = layer.layer->spec();
    const size_t next = size_t(number + 1) % std::max<size_t>(1, options.operators.size());
    restart(*model.adapted().at(path), optimizer, layer.indices.front(),
            options.operators.empty() ? spec.op : options.operators[next], spec.rank);
  }
  return ranks_now("restart", model);
}

}  // namespace mora
