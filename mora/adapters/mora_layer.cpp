#include "mora/adapters/mora_layer.h"

#include <algorithm>
#include <array>

#include "autograd/ops/arithmetic.h"
#include "autograd/ops/matmul.h"
#include "mora/adapters/adalora.h"
#include "mora/adapters/dora.h"
#include "mora/adapters/lora.h"
#include "mora/adapters/mora.h"
#include "mora/adapters/whole_linear.h"

namespace mora {
namespace {

constexpr std::array<std::string_view, 5> kind_names = {"mora", "lora", "dora", "adalora", "whole"};
constexpr std::array<std::string_view, 4> init_names = {"default", "gaussian", "pissa", "olora"};
constexpr std::array<std::string_view, 8> operator_names = {"truncation",    "sharing",  "group",    "group_sharing",
                                                            "sharing_group", "decouple", "rotation", "rotation_full"};

template <class E, size_t N>
E parse(std::string_view word, const std::array<std::string_view, N>& names, std::string_view key) {
  std::string known;
  for (size_t i = 0; i < N; ++i) {
    if (names[i] == word) return E(i);
    known += (i ? ", " : "") + std::string(names[i]);
  }
  fail<ConfigError>("{}: '{}': expected one of {}", key, word, known);
}

}  // namespace

std::string_view name_of(AdapterSpec::Kind kind) { return kind_names[size_t(kind)]; }
std::string_view name_of(kernels::OperatorKind op) { return operator_names[size_t(op)]; }
AdapterSpec::Kind parse_adapter_kind(std::string_view word, std::string_view place) {
  return parse<AdapterSpec::Kind>(word, kind_names, place);
}
AdapterSpec::Init parse_init(std::string_view word) {
  return parse<AdapterSpec::Init>(word, init_names, "adapter.init");
}
kernels::OperatorKind parse_operator(std::string_view word, std::string_view place) {
  return parse<kernels::OperatorKind>(word, operator_names, place);
}

Tensor MoRALayer::forward(const Tensor& x, const FrozenWeightPtr& w, Context& context) const {
  if (const auto one = term(w, x.dtype(), context)) return adapted_linear(x, *one);
  return linear(x, w) + update(x, context);
}

void check_rank(const AdapterSpec& spec, int64_t in, int64_t out) {
  require<ConfigError>(spec.rank <= std::min(in, out),
                       "adapter.rank: {}: at most {}, the smaller side of a weight ({}, {}); lower it, or give this "
                       "module its own in adapter.rank_pattern",
                       spec.rank, std::min(in, out), out, in);
}

void MoRALayer::to(Device device) {
  visit_parameters([&](const std::string&, Tensor& value) {
    if (value.device() != device) value = leaf(value.to(device));
  });
  visit_constants([&](const std::string&, Tensor& value) { value = value.to(device); });
}

std::unique_ptr<MoRALayer> make_layer(const AdapterSpec& spec, const FrozenWeightPtr& w, uint64_t seed,
                                      uint64_t index) {
  using Init = AdapterSpec::Init;
  const int64_t in = w->in(), out = w->out();
  if (spec.kind != AdapterSpec::Kind::mora && spec.kind != AdapterSpec::Kind::whole) check_rank(spec, in, out);
  switch (spec.kind) {
    case AdapterSpec::Kind::mora: return std::make_unique<MoRA>(spec, in, out, MoRA::side_for(spec, in, out), index);
    case AdapterSpec::Kind::dora: return std::make_unique<DoRA>(spec, w, seed, index);
    case AdapterSpec::Kind::adalora: return std::make_unique<AdaLoRA>(spec, in, out, seed, index);
    case AdapterSpec::Kind::whole: return std::make_unique<WholeLinear>(w);
    case AdapterSpec::Kind::lora: break;
  }
  if (spec.init == Init::pissa || spec.init == Init::olora) return factorized_lora(spec, w->weight(), seed, index);
  return std::make_unique<LoRA>(spec, in, out, seed, index);
}

}  // namespace mora
