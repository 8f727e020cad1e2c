#include "mora/adapters/lora.h"

#include <cmath>

#include "autograd/ops/adapted_linear.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/dropout.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/shape.h"

namespace mora {

LoRA::LoRA(AdapterSpec spec, int64_t in, int64_t out, uint64_t seed, uint64_t index) : spec_(spec), index_(index) {
  require<ConfigError>(spec.rank >= 1, "adapter.rank: {} is below 1", spec.rank);
  const RandomStream stream({.seed = seed, .layer = index, .purpose = Purpose::init});
  const double bound = 1 / std::sqrt(double(in)), deviation = 1 / double(spec.rank);
  std::vector<float> values(size_t(spec.rank * in));
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] =
        spec.gaussian ? float(deviation * stream.normal(i)) : float(bound * (2.0 * double(stream.uniform(i)) - 1.0));
  }
  a_ = leaf(Tensor::from(values, {spec.rank, in}));
  b_ = leaf(Tensor::zeros({out, spec.rank}));
}

LoRA::LoRA(AdapterSpec spec, Tensor a, Tensor b, uint64_t index)
    : spec_(spec), index_(index), a_(leaf(a)), b_(leaf(b)) {
  require<ShapeError>(a.rank() == 2 && b.rank() == 2 && a.dim(0) == b.dim(1), "LoRA: A {} and B {} share no rank",
                      a.shape(), b.shape());
  spec_.rank = a.dim(0);
}

double LoRA::scaling() const {
  return spec_.alpha / (spec_.rank_stabilized ? std::sqrt(double(spec_.rank)) : double(spec_.rank));
}

Tensor LoRA::update(const Tensor& x, Context& context) const {
  const Tensor input = context.training ? dropout(x, spec_.dropout, context.key(index_, Purpose::dropout)) : x;
  const Tensor h = matmul(input, cast(a_, x.dtype()), false, true) * scaling();  // (N, r)
  return matmul(h, cast(b_, x.dtype()), false, true);                            // (N, out)
}

Tensor LoRA::forward(const Tensor& x, const std::shared_ptr<const kernels::FrozenWeight>& w, Context& context) const {
  if (context.training && spec_.dropout > 0) return MoRALayer::forward(x, w, context);
  return lora_linear(x, w, cast(a_, x.dtype()), cast(b_, x.dtype()), scaling());
}

Tensor LoRA::merged() const {
  const NoGrad no_grad;
  return matmul(cast(b_, DType::f64), cast(a_, DType::f64)) * scaling();
}

}  // namespace mora
