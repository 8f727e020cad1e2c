#include "mora/experts/routed_layer.h"

#include "autograd/ops/arithmetic.h"
#include "autograd/ops/dropout.h"
#include "autograd/ops/embedding.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/mora_operator.h"
#include "autograd/ops/reduce.h"
#include "autograd/ops/shape.h"
#include "mora/adapters/lora.h"
#include "mora/adapters/mora.h"

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

// Halting is the layer's, whatever its experts.
bool is_of_experts(const std::string& name) { return !name.starts_with("act."); }

}  // namespace

RoutedLayer::RoutedLayer(AdapterSpec spec, const RoutedSpec& routed, int64_t in, int64_t out, uint64_t index,
                         ExpertRouter::Make make)
    : spec_(spec), in_(in), out_(out), index_(index) {
  require<ConfigError>(spec.rank >= 1, "adapter.rank: {} is below 1", spec.rank);
  if (routed.experts) router_.emplace(*routed.experts, in, make);
  if (spec.kind == AdapterSpec::Kind::mora) {
    operator_ = {spec.op, in, out, MoRA::side_for(spec, in, out)};
    operator_.check();
    if (routed.act) halting_.emplace(*routed.act, operator_.chunks() * operator_.rank, make);
    matrix_ = make("M", {experts() * operator_.rank, operator_.rank});
    return;
  }
  require<ConfigError>(spec.kind == AdapterSpec::Kind::lora,
                       "adapter.experts: experts are mora, lora or rslora, not {}", name_of(spec.kind));
  require<ConfigError>(!routed.act, "adapter.act: is for mora: {} has no map of its compressed space into itself",
                       name_of(spec.kind));
  a_ = make("lora_A", {experts() * spec.rank, in});
  b_ = make("lora_B", {experts() * spec.rank, out});
}

std::unique_ptr<RoutedLayer> RoutedLayer::fresh(const AdapterSpec& spec, const RoutedSpec& routed, int64_t in,
                                                int64_t out, uint64_t seed, uint64_t index) {
  auto make = [&](const std::string& name, const Shape& shape) {
    if (name == "router.weight") return leaf(fresh_router(shape, seed, index));
    if (name == "act.bias") return leaf(Tensor::from(std::vector<float>{1}, shape));
    return leaf(name == "lora_A" ? fresh_lora_a(spec, shape, seed, index) : Tensor::zeros(shape));
  };
  return std::make_unique<RoutedLayer>(spec, routed, in, out, index, make);
}

RoutedSpec RoutedLayer::routed() const {
  RoutedSpec spec;
  if (router_) spec.experts = router_->spec();
  if (halting_) spec.act = halting_->spec();
  return spec;
}

void RoutedLayer::visit_parameters(ParameterVisitor visit) {
  if (router_) router_->visit_parameters(visit);
  if (halting_) halting_->visit_parameters(visit);
  if (matrix_.defined()) return visit("M", matrix_);
  visit("lora_A", a_);
  visit("lora_B", b_);
}

// Stacked while all experts together are few columns: one product that reads x once is then the fastest, however few
// are active. `mora bench experts` prints both ways about the crossover. A device has more columns to spare, and the
// grouped way waits for it: how many rows an expert has is asked on the processor.
Dispatch RoutedLayer::way() const {
  const bool square = matrix_.defined();
  const int64_t most_stacked_columns = (square ? matrix_ : a_).device() == cpu ? 48 : 512;
  const int64_t columns = experts() * (square ? operator_.rank : spec_.rank);
  return columns <= most_stacked_columns ? Dispatch::stacked : Dispatch::grouped;
}

Tensor RoutedLayer::update(const Tensor& x, Context& context) const {
  Routes routes;
  if (router_) routes = router_->route(x, context, index_);
  const Tensor input =
      context.training ? dropout(x, spec_.dropout, context.key(index_, Purpose::dropout), context.clock) : x;
  if (!matrix_.defined()) return dispatch(way(), input, routes, LowRankExperts{a_, b_, experts(), lora_scaling(spec_)});
  const Tensor s = mora_compress(input, operator_);  // (N, chunks, r̂)
  if (!halting_) return mora_decompress(mixed(s, routes), operator_);
  const int64_t chunks = s.dim(1), side = s.dim(2);
  const auto step = [&](const Tensor& state, const Tensor& rows) {
    const bool part = router_ && rows.defined();
    const Routes own = part ? Routes{gather_rows(routes.gates, rows, routes.gates.dtype()),
                                     gather_rows(routes.chosen, rows, routes.chosen.dtype())}
                            : routes;
    return reshape(mixed(reshape(state, {state.dim(0), chunks, side}), own), state.shape());
  };
  const Tensor z = halting_->run(reshape(s, {s.dim(0), chunks * side}), step, context, index_);
  return mora_decompress(reshape(z, s.shape()), operator_);
}

Tensor RoutedLayer::mixed(const Tensor& s, const Routes& routes) const {
  if (router_) return dispatch(way(), s, routes, SquareExperts{matrix_, experts()});
  const Tensor rows = reshape(s, {s.dim(0) * s.dim(1), s.dim(2)});
  return reshape(matmul(rows, cast(matrix_, s.dtype()), false, true), s.shape());
}

int64_t RoutedLayer::rows_of_expert(const std::string& name) const {
  if (name.starts_with("router.")) return 1;
  return matrix_.defined() ? operator_.rank : spec_.rank;
}

Tensor RoutedLayer::select(const std::string& name, const Tensor& t, const Change& change) const {
  if (!is_of_experts(name)) return t;
  const int64_t rows = rows_of_expert(name);
  std::vector<int64_t> kept;
  for (int64_t expert : change.kept)
    for (int64_t row = 0; row < rows; ++row) kept.push_back(expert * rows + row);
  return select_components(t, 0, kept, change.direction.empty() ? 0 : rows);
}

void RoutedLayer::apply(const Change& change, const RandomStream& stream) {
  invariant(router_ && router_->spec().rule == RoutingSpec::Rule::dynmoe, "experts come and go with dynmoe alone");
  visit_parameters([&](const std::string& name, Tensor& value) {
    if (!is_of_experts(name)) return;
    Tensor selected = select(name, value.to(cpu), change);
    float* added = selected.mutable_data<float>() + std::ssize(change.kept) * rows_of_expert(name) * in_;
    const int64_t count = change.direction.empty() ? 0 : rows_of_expert(name) * in_;
    if (name == "router.weight") std::copy(change.direction.begin(), change.direction.end(), added);
    if (name == "lora_A") fill_lora_a({added, size_t(count)}, spec_, in_, stream);
    value = leaf(selected.to(value.device()));
  });
  router_->set_count(std::ssize(change.kept) + (change.direction.empty() ? 0 : 1));
}

// The router's logits, probabilities, mask and gates on the way; the dropped x; of each expert that is computed its
// numbers before and after the gate; C(x), at each step.
int64_t RoutedLayer::kept_numbers(bool dropout) const {
  const int64_t own = matrix_.defined() ? operator_.chunks() * operator_.rank : spec_.rank;
  const int64_t steps = halting_ ? halting_->spec().max_steps : 1;
  const int64_t computed = router_ && way() == Dispatch::grouped ? router_->spec().most_active() : experts();
  return (router_ ? 8 * experts() : 0) + steps * (2 * computed + (matrix_.defined() ? 1 : 0)) * own +
         (dropout ? in_ : 0);
}

Tensor RoutedLayer::constant_gates() const {
  const NoGrad no_grad;
  constexpr const char* rest = "; what is without experts and steps can be exported, this is used as it is (--adapter)";
  require<ConfigError>(!halting_ || halting_->spec().max_steps == 1,
                       "a layer with adaptive steps changes the weight by token, so it is no one ΔW to merge or to "
                       "write for PEFT or llama.cpp{}",
                       rest);
  if (!router_) return Tensor::from(std::vector<double>{1}, {1});
  require<ConfigError>(router_->is_constant(),
                       "a mixture of experts changes the weight by token, so it is no one ΔW to merge or to write for "
                       "PEFT or llama.cpp{}",
                       rest);
  Context context;
  return reshape(router_->route(Tensor::zeros({1, in_}, DType::f64), context, index_).gates, {experts()});
}

Tensor RoutedLayer::merged() const {
  const NoGrad no_grad;
  if (!matrix_.defined()) {
    const LowRank product = as_low_rank();
    return matmul(cast(product.b, DType::f64), cast(product.a, DType::f64)) * product.scaling;
  }
  const int64_t side = operator_.rank;
  const Tensor gates = reshape(constant_gates(), {experts(), 1, 1});
  const Tensor m = reshape(cast(matrix_.detach(), DType::f64), {experts(), side, side});
  MoRA one(spec_, in_, out_, side, index_, DType::f64);
  one.visit_parameters([&](const std::string&, Tensor& value) { value = sum(m * gates, {0}); });
  return one.merged();
}

LowRank RoutedLayer::as_low_rank() const {
  const NoGrad no_grad;
  const Tensor gates = constant_gates();
  require<ConfigError>(!matrix_.defined(), "a mixture of MoRA experts is not a low-rank update: merge it instead");
  const Tensor scaled =
      reshape(cast(b_.detach(), DType::f64), {experts(), spec_.rank, out_}) * reshape(gates, {experts(), 1, 1});
  const Tensor b = reshape(scaled, {experts() * spec_.rank, out_});
  return {a_.detach(), cast(contiguous(transpose(b)), a_.dtype()), lora_scaling(spec_)};
}

}  // namespace mora
