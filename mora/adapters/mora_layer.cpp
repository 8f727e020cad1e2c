#include "mora/adapters/mora_layer.h"

#include <array>

#include "autograd/ops/arithmetic.h"
#include "autograd/ops/matmul.h"
#include "mora/adapters/lora.h"
#include "mora/adapters/mora.h"

namespace mora {
namespace {

constexpr std::array<std::string_view, 2> kind_names = {"mora", "lora"};
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
AdapterSpec::Kind parse_adapter_kind(std::string_view word) {
  return parse<AdapterSpec::Kind>(word, kind_names, "adapter.kind");
}
kernels::OperatorKind parse_operator(std::string_view word) {
  return parse<kernels::OperatorKind>(word, operator_names, "adapter.operator");
}

Tensor MoRALayer::forward(const Tensor& x, const std::shared_ptr<const kernels::FrozenWeight>& w,
                          Context& context) const {
  return linear(x, w) + update(x, context);
}

std::unique_ptr<MoRALayer> make_layer(const AdapterSpec& spec, int64_t in, int64_t out, uint64_t seed, uint64_t index) {
  if (spec.kind == AdapterSpec::Kind::lora) return std::make_unique<LoRA>(spec, in, out, seed, index);
  return std::make_unique<MoRA>(spec, in, out, MoRA::side_for(spec, in, out), index);
}

}  // namespace mora
