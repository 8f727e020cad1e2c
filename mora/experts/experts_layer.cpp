#include "mora/experts/experts_layer.h"

#include "autograd/ops/arithmetic.h"
#include "autograd/ops/dropout.h"
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

[[noreturn]] void refuse_static() {
  fail<ConfigError>(
      "a mixture of experts changes the weight by token, so it is no one ΔW to merge or to write for PEFT or "
      "llama.cpp; "
      "use the adapter as it is (--adapter)");
}

}  // namespace

ExpertsLayer::ExpertsLayer(AdapterSpec spec, RoutingSpec routing, int64_t in, int64_t out, uint64_t index,
                           ExpertRouter::Make make)
    : spec_(spec), in_(in), index_(index), router_(routing, in, make) {
  const int64_t experts = routing.count;
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
  b_ = make("lora_B", {out, experts * spec.rank});
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
  const Tensor gates = cast(router_.gates(x, context, index_), x.dtype());  // (N, E)
  const Tensor input = context.training ? dropout(x, spec_.dropout, context.key(index_, Purpose::dropout)) : x;
  return matrix_.defined() ? mora_experts(input, gates) : lora_experts(input, gates);
}

Tensor ExpertsLayer::lora_experts(const Tensor& x, const Tensor& gates) const {
  const int64_t n = x.dim(0), experts = gates.dim(1);
  const Tensor h = matmul(x, cast(a_, x.dtype()), false, true);  // (N, E·r)
  const Tensor gated = reshape(h, {n, experts, spec_.rank}) * reshape(gates * lora_scaling(spec_), {n, experts, 1});
  return matmul(reshape(gated, h.shape()), cast(b_, x.dtype()), false, true);  // (N, out)
}

Tensor ExpertsLayer::mora_experts(const Tensor& x, const Tensor& gates) const {
  const int64_t n = x.dim(0), experts = gates.dim(1), side = operator_.rank;
  const Tensor s = mora_compress(x, operator_);                                            // (N, chunks, r̂)
  const Tensor z = matmul(reshape(s, {-1, side}), cast(matrix_, x.dtype()), false, true);  // (N·chunks, E·r̂)
  const Tensor gated = reshape(z, {n, s.dim(1), experts, side}) * reshape(gates, {n, 1, experts, 1});
  return mora_decompress(sum(gated, {2}), operator_);  // (N, out)
}

// The router's logits, probabilities, mask and gates on the way; the dropped x; the experts' h before and after the
// gates, or C(x) and what the experts make of it.
int64_t ExpertsLayer::kept_numbers(bool dropout) const {
  const int64_t experts = routing().count;
  const int64_t kept =
      matrix_.defined() ? (1 + experts) * operator_.chunks() * operator_.rank : 2 * experts * spec_.rank;
  return 8 * experts + kept + (dropout ? in_ : 0);
}

Tensor ExpertsLayer::merged() const { refuse_static(); }
LowRank ExpertsLayer::as_low_rank() const { refuse_static(); }

}  // namespace mora
