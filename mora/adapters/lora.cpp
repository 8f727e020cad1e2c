#include "mora/adapters/lora.h"

#include <array>
#include <cmath>
#include <cstring>

#include "autograd/ops/arithmetic.h"
#include "autograd/ops/dropout.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/shape.h"
#include "kernels/copy.h"

namespace mora {
namespace {

Tensor product(const Tensor& b, const Tensor& a, double scaling) {  // in f64, on the processor
  const auto wide = [](const Tensor& t) { return cast(t.detach().to(cpu), DType::f64); };
  return matmul(wide(b), wide(a)) * scaling;
}

}  // namespace

double lora_scaling(const AdapterSpec& spec) {
  return spec.alpha / (spec.rank_stabilized ? std::sqrt(double(spec.rank)) : double(spec.rank));
}

void fill_lora_a(std::span<float> values, const AdapterSpec& spec, int64_t in, const RandomStream& stream) {
  const double bound = 1 / std::sqrt(double(in)), deviation = 1 / double(spec.rank);
  const bool gaussian = spec.init == AdapterSpec::Init::gaussian;
  for (uint64_t i = 0; i < values.size(); ++i)
    values[i] = gaussian ? float(deviation * stream.normal(i)) : float(bound * (2.0 * double(stream.uniform(i)) - 1.0));
}

Tensor normal_tensor(const Shape& shape, double deviation, const RandomStream& stream, uint64_t first) {
  Tensor t = Tensor::empty(shape);
  float* values = t.mutable_data<float>();
  for (int64_t i = 0; i < t.numel(); ++i) values[i] = float(deviation * stream.normal(first + uint64_t(i)));
  return t;
}

Tensor fresh_lora_a(const AdapterSpec& spec, const Shape& shape, uint64_t seed, uint64_t index) {
  const RandomStream stream({.seed = seed, .layer = index, .purpose = Purpose::init});
  Tensor a = Tensor::empty(shape);
  fill_lora_a({a.mutable_data<float>(), size_t(a.numel())}, spec, shape[1], stream);
  return a;
}

LoRA::LoRA(AdapterSpec spec, int64_t in, int64_t out, uint64_t seed, uint64_t index) : spec_(spec), index_(index) {
  require<ConfigError>(spec.rank >= 1, "adapter.rank: {} is below 1", spec.rank);
  a_ = leaf(fresh_lora_a(spec, {spec.rank, in}, seed, index));
  b_ = leaf(Tensor::zeros({out, spec.rank}));
}

LoRA::LoRA(AdapterSpec spec, Tensor a, Tensor b, uint64_t index, std::optional<LoraFactors> origin)
    : spec_(spec), index_(index), a_(leaf(a)), b_(leaf(b)), origin_(std::move(origin)) {
  require<ShapeError>(a.rank() == 2 && b.rank() == 2 && a.dim(0) == b.dim(1), "LoRA: A {} and B {} share no rank",
                      a.shape(), b.shape());
}

double LoRA::scaling() const { return lora_scaling(spec_); }

Tensor LoRA::dropped(const Tensor& x, const Context& context) const {
  return context.training ? dropout(x, spec_.dropout, context.key(index_, Purpose::dropout), context.clock) : x;
}

Tensor LoRA::update(const Tensor& x, Context& context) const {
  const Tensor h = matmul(dropped(x, context), cast(factor_a(), x.dtype()), false, true) * scaling();  // (N, r)
  return matmul(h, cast(b_, x.dtype()), false, true);                                                  // (N, out)
}

std::optional<AdaptedTerm> LoRA::term(const FrozenWeightPtr& w, DType dtype, const Context& context) const {
  if (drops(context)) return {};
  return lora_term(w, cast(factor_a(), dtype), cast(b_, dtype), scaling());
}

Tensor LoRA::base_shift() const {
  const NoGrad no_grad;
  return origin_ ? product(origin_->b, origin_->a, -scaling()) : Tensor();
}

Tensor LoRA::merged() const {
  const NoGrad no_grad;
  const Tensor delta = product(b_, factor_a(), scaling());
  return origin_ ? delta + base_shift() : delta;
}

LowRank LoRA::as_low_rank() const {
  const NoGrad no_grad;
  const Tensor a = factor_a().detach(), b = b_.detach();
  if (!origin_) return {a, b, scaling()};
  // B·A − B₀·A₀ = (B | −B₀)·(A over A₀)
  return {concat(std::array{a, origin_->a}, 0), concat(std::array{b, -origin_->b}, 1), scaling()};
}

void LoRA::replace(const Tensor& a, const Tensor& b) {
  a_ = leaf(a);
  b_ = leaf(b);
}

void LoRA::resize(std::span<const int64_t> kept, int64_t added, const RandomStream& stream) {
  const double bound = 1 / std::sqrt(double(a_.dim(1)));
  Tensor a = select_components(a_.to(cpu), 0, kept, added);
  float* fresh = a.mutable_data<float>() + int64_t(kept.size()) * a.dim(1);
  for (int64_t i = 0; i < added * a.dim(1); ++i)
    fresh[i] = float(bound * (2.0 * double(stream.uniform(uint64_t(i))) - 1.0));
  replace(a.to(b_.device()), select_components(b_, 1, kept, added));
}

std::optional<int> component_dimension(std::string_view name) {
  if (name.ends_with("lora_A") || name.ends_with("lora_E")) return 0;
  if (name.ends_with("lora_B")) return 1;
  return {};
}

Tensor select_components(const Tensor& t, int dim, std::span<const int64_t> kept, int64_t added) {
  const Tensor source = t.to(cpu);
  Shape shape = t.shape();
  shape[dim] = int64_t(kept.size()) + added;
  Tensor selected = Tensor::zeros(shape, t.dtype());
  const int64_t rows = dim == 0 ? 1 : t.dim(0),
                block = dim == 0 ? t.numel() / t.dim(0) : 1;  // a component is `rows` blocks
  const size_t bytes = size_t(block) * size_of(t.dtype());
  auto* to = static_cast<std::byte*>(selected.mutable_raw());
  const auto* from = static_cast<const std::byte*>(source.raw());
  for (int64_t row = 0; row < rows; ++row)
    for (size_t i = 0; i < kept.size(); ++i)
      std::memcpy(to + size_t(row * shape[dim] + int64_t(i)) * bytes, from + size_t(row * t.dim(dim) + kept[i]) * bytes,
                  bytes);
  return selected.to(t.device());
}

std::unique_ptr<LoRA> factorized_lora(const AdapterSpec& spec, const Tensor& weight, uint64_t seed, uint64_t index) {
  const LoraFactors origin = spec.init == AdapterSpec::Init::pissa
                                 ? pissa_factors(weight, spec.rank, lora_scaling(spec), seed, index)
                                 : olora_factors(weight, spec.rank);
  return std::make_unique<LoRA>(spec, kernels::copied(origin.a), kernels::copied(origin.b), index, origin);
}

}  // namespace mora
