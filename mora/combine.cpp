#include "mora/combine.h"

#include <algorithm>

#include "autograd/ops/arithmetic.h"
#include "autograd/ops/shape.h"
#include "mora/adapters/embedding_lora.h"
#include "mora/adapters/lora.h"
#include "mora/adapters/mora.h"

namespace mora {
namespace {

struct Term {
  const MoRALayer* layer;
  double weight;
};

// D·M·C and what was folded before it, matrices of one operator added.
std::unique_ptr<MoRALayer> sum_of_moras(const std::vector<Term>& terms, uint64_t index) {
  std::vector<MoRA::Folded> sums;
  const auto add = [&](const kernels::MoraOperator& op, const Tensor& matrix, double weight) {
    const auto found = std::ranges::find_if(sums, [&](const MoRA::Folded& f) { return f.op == op; });
    const Tensor scaled = matrix.detach() * weight;
    if (found == sums.end())
      sums.push_back({op, scaled});
    else
      found->matrix = found->matrix + scaled;
  };
  for (const Term& term : terms) {
    const auto& mora = static_cast<const MoRA&>(*term.layer);
    add(mora.op(), mora.matrix(), term.weight);
  }
  for (const Term& term : terms)
    for (const MoRA::Folded& folded : static_cast<const MoRA&>(*term.layer).history())
      add(folded.op, folded.matrix, term.weight);

  const kernels::MoraOperator& op = sums.front().op;
  auto layer = std::make_unique<MoRA>(terms.front().layer->spec(), op.in, op.out, op.rank, index);
  layer->visit_parameters([&](const std::string&, Tensor& m) { m = leaf(sums.front().matrix); });
  layer->set_history({sums.begin() + 1, sums.end()});
  return layer;
}

// (B₁ | B₂ …)·(A₁ over A₂ …), the scalings and weights in B.
std::unique_ptr<MoRALayer> sum_of_products(const std::vector<Term>& terms, const MoRAModel::Place& place,
                                           DType activations) {
  std::vector<Tensor> a, b;
  for (const Term& term : terms) {
    const LowRank product = term.layer->as_low_rank();
    a.push_back(product.a);
    b.push_back(product.b * (term.weight * product.scaling));
  }
  const Tensor all_a = concat(a, 0), all_b = concat(b, 1);
  const int64_t rank = all_a.dim(0);
  const AdapterSpec spec{.kind = AdapterSpec::Kind::lora, .rank = rank, .alpha = double(rank)};
  if (place.embedding) return std::make_unique<EmbeddingLoRA>(spec, contiguous(transpose(all_a)), all_b, activations);
  return std::make_unique<LoRA>(spec, leaf(all_a), leaf(all_b), place.index);
}

std::unique_ptr<MoRALayer> sum(const std::vector<Term>& terms, const MoRAModel::Place& place, DType activations) {
  const bool moras = std::ranges::all_of(terms, [](const Term& t) { return dynamic_cast<const MoRA*>(t.layer); });
  return moras ? sum_of_moras(terms, place.index) : sum_of_products(terms, place, activations);
}

// What was taken from one directory.
struct Loaded {
  AdapterInfo info;
  std::map<std::string, std::unique_ptr<MoRALinear>> linears;
  std::optional<Classifier> classifier;
  Pooling pooling;
};

Loaded take(const std::filesystem::path& directory, MoRAModel& model) {
  Loaded loaded{.info = load_adapter(directory, model), .linears = {}, .classifier = {}, .pooling = {}};
  loaded.linears = model.take_adapters();
  loaded.classifier = model.classifier();
  loaded.pooling = model.pooling();
  model.remove_head();
  return loaded;
}

void require_same_task(const Loaded& a, const Loaded& b, std::span<const WeightedAdapter> adapters, size_t other) {
  const std::string first = adapters[0].directory.string(), second = adapters[other].directory.string();
  require<ConfigError>(a.info.task.empty() || b.info.task.empty() || a.info.task == b.info.task,
                       "{}: an adapter for {}, {} for {}: they do not add up", second, b.info.task, first, a.info.task);
  require<ConfigError>(a.info.labels == b.info.labels, "{}: has other labels than {}: their classifiers do not add up",
                       second, first);
  require<ConfigError>(a.classifier.has_value() == b.classifier.has_value(),
                       "{}: {} a classifier, {} {}: they do not add up", second, b.classifier ? "has" : "lacks", first,
                       a.classifier ? "has one" : "has none");
  require<ConfigError>(
      !a.classifier || (a.pooling == b.pooling && a.classifier->weight.shape() == b.classifier->weight.shape()),
      "{}: pools otherwise than {}: their classifiers do not add up", second, first);
}

Classifier mean_classifier(std::span<const Loaded> loaded, std::span<const WeightedAdapter> adapters) {
  double total = 0;
  for (const WeightedAdapter& adapter : adapters) total += adapter.weight;
  require<ConfigError>(total != 0, "the weights add up to 0: classifiers have no mean by them");
  Classifier mean;
  for (size_t i = 0; i < loaded.size(); ++i) {
    const double share = adapters[i].weight / total;
    const Tensor weight = loaded[i].classifier->weight.detach() * share,
                 bias = loaded[i].classifier->bias.detach() * share;
    mean = i == 0 ? Classifier{weight, bias} : Classifier{mean.weight + weight, mean.bias + bias};
  }
  return {leaf(mean.weight), leaf(mean.bias)};
}

}  // namespace

AdapterInfo combine_adapters(MoRAModel& model, std::span<const WeightedAdapter> adapters) {
  const NoGrad no_grad;
  std::vector<Loaded> loaded;
  std::map<std::string, std::vector<Term>> terms;  // by module path
  for (size_t i = 0; i < adapters.size(); ++i) {
    loaded.push_back(take(adapters[i].directory, model));
    require_same_task(loaded[0], loaded[i], adapters, i);
    for (const auto& [path, linear] : loaded[i].linears) terms[path].push_back({&linear->layer(), adapters[i].weight});
  }
  for (const auto& [path, list] : terms) {
    try {
      model.attach(path, sum(list, *model.find(path), model.base().dtype()));
    } catch (const ConfigError& error) {
      fail<ConfigError>("{}: {}", path, error.what());
    }
  }
  if (loaded[0].classifier) model.set_head(loaded[0].pooling, mean_classifier(loaded, adapters));
  return loaded[0].info;
}

}  // namespace mora
