#include "mora/experts/experts_layer.h"

#include "autograd/ops/dropout.h"
#include "autograd/ops/mora_operator.h"
#include "mora/adapters/lora.h"
#include "mora/adapters/mora.h"
#include "mora/experts/dispatch.h"

namespace mora {
namespace {

constexpr double router_deviation = 0.02;

Tensor fresh_router(const Shape& shape, uint64_t seed, uint64_t index) {
  const RandomStream stream({.seed = seed, .epoch = 1, .layer = index, .purpose = Purpose::init});  // apart from A's
  Tensor weight = Tensor::empty(shape);
  float* values = weight.mutable_data<float>();
  for (int64_t i = 0; i < weight.numel(); ++i) values[i] = float(router_deviation * stream.normal(uint64_t(i)));
  return weight;
}

[[noreturn]] void refuse_static() {
  fail<ConfigError>(
      "a mixture of experts changes the weight by token, so it is no one ΔW to merge or to write for PEFT or "
      "llama.cpp; use the adapter as it is (--adapter)");
}

// Stacked while all experts together are few columns: one product that reads x once is then the fastest, however few
// are active. `mora bench experts` prints both ways about the crossover.
Dispatch way(const Routes& routes, int64_t rank) {
  constexpr int64_t most_stacked_columns = 256;
  return routes.gates.dim(1) * rank <= most_stacked_columns ? Dispatch::stacked : Dispatch::grouped;
}

}  // namespace

ExpertsLayer::ExpertsLayer(AdapterSpec spec, RoutingSpec routing, int64_t in, int64_t out, uint64_t index,
                           ExpertRouter::Make make)
    : spec_(spec), in_(in), index_(index), router_(std::move(routing), in, make) {
  const int64_t experts = router_.spec().experts();
  require<ConfigError>(spec.rank >= 1, "adapter.rank: {} is below 1", spec.rank);
  if (spec.kind == AdapterSpec::Kind::mora) {
    operator_ = {spec.op, in, out, MoRA::side_for(spec, in, out)};
    operator_.check();
    matrix_ = make("M", {experts * operator_.rank, operator_.rank});
    return;
  }
  require<ConfigError>(spec.kind == AdapterSpec::Kind::lora,
                       "adapter.experts: experts are mora, lora or rslora, not {}", name_of(spec.kind));
  a_ = make("lora_A", {experts * spec.rank, in});
  b_ = make("lora_B", {experts * spec.rank, out});
}

std::unique_ptr<ExpertsLayer> ExpertsLayer::fresh(const AdapterSpec& spec, const RoutingSpec& routing, int64_t in,
                                                  int64_t out, uint64_t seed, uint64_t index) {
  auto make = [&](const std::string& name, const Shape& shape) {
    if (name == "router.weight") return leaf(fresh_router(shape, seed, index));
    return leaf(name == "lora_A" ? fresh_lora_a(spec, shape, seed, index) : Tensor::zeros(shape));
  };
  return std::make_unique<ExpertsLayer>(spec, routing, in, out, index, make);
}

void ExpertsLayer::visit_parameters(ParameterVisitor visit) {
  router_.visit_parameters(visit);
  if (matrix_.defined()) return visit("M", matrix_);
  visit("lora_A", a_);
  visit("lora_B", b_);
}

Tensor ExpertsLayer::update(const Tensor& x, Context& context) const {
  const Routes routes = router_.route(x, context, index_);
  const Tensor input = context.training ? dropout(x, spec_.dropout, context.key(index_, Purpose::dropout)) : x;
  const int64_t experts = router_.spec().experts();
  if (!matrix_.defined())
    return dispatch(way(routes, spec_.rank), input, routes, LowRankExperts{a_, b_, experts, lora_scaling(spec_)});
  const Tensor s = mora_compress(input, operator_);  // (N, chunks, r̂)
  return mora_decompress(dispatch(way(routes, operator_.rank), s, routes, SquareExperts{matrix_, experts}), operator_);
}

int64_t ExpertsLayer::rows_of_expert(const std::string& name) const {
  if (name.starts_with("router.")) return 1;
  return matrix_.defined() ? operator_.rank : spec_.rank;
}

Tensor ExpertsLayer::select(const std::string& name, const Tensor& t, const Change& change) const {
  const int64_t rows = rows_of_expert(name);
  std::vector<int64_t> kept;
  for (int64_t expert : change.kept)
    for (int64_t row = 0; row < rows; ++row) kept.push_back(expert * rows + row);
  return select_components(t, 0, kept, change.direction.empty() ? 0 : rows);
}

void ExpertsLayer::apply(const Change& change, const RandomStream& stream) {
  invariant(routing().rule == RoutingSpec::Rule::dynmoe, "experts of {} change", name_of(routing().rule));
  visit_parameters([&](const std::string& name, Tensor& value) {
    Tensor selected = select(name, value, change);
    float* added = selected.mutable_data<float>() + std::ssize(change.kept) * rows_of_expert(name) * in_;
    const int64_t count = change.direction.empty() ? 0 : rows_of_expert(name) * in_;
    if (name == "router.weight") std::copy(change.direction.begin(), change.direction.end(), added);
    if (name == "lora_A") fill_lora_a({added, size_t(count)}, spec_, in_, stream);
    value = leaf(selected);
  });
  router_.set_count(std::ssize(change.kept) + (change.direction.empty() ? 0 : 1));
}

// The router's logits, probabilities, mask and gates on the way; the dropped x; the experts' h before and after the
// gates, or C(x) and what the experts make of it.
int64_t ExpertsLayer::kept_numbers(bool dropout) const {
  const int64_t experts = routing().experts();
  const int64_t kept =
      matrix_.defined() ? (1 + experts) * operator_.chunks() * operator_.rank : 2 * experts * spec_.rank;
  return 8 * experts + kept + (dropout ? in_ : 0);
}

Tensor ExpertsLayer::merged() const { refuse_static(); }
LowRank ExpertsLayer::as_low_rank() const { refuse_static(); }

}  // namespace mora
