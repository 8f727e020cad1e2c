// The seam between models and adapters: what a model calls where the paper says W·x + b.
#pragma once

#include <memory>

#include "autograd/ops/matmul.h"
#include "mora/models/context.h"

namespace mora {

// x (N, in) → (N, out). A model owns its linears through LinearSlot; MoRAModel replaces what a slot holds.
class Linear {
 public:
  virtual ~Linear() = default;
  virtual Tensor forward(const Tensor& x, Context& context) const = 0;
  // The frozen weight underneath, shared: W (out, in) and a bias that may be undefined.
  virtual const std::shared_ptr<const kernels::FrozenWeight>& frozen() const = 0;

  int64_t in() const { return frozen()->in(); }
  int64_t out() const { return frozen()->out(); }
};

using LinearSlot = std::unique_ptr<Linear>;

// A weight that is loaded whenever it is asked for.
struct WeightInFile {
  Meta meta;
  std::function<Tensor()> load;
};

// y = x·Wᵀ + b
class FrozenLinear final : public Linear {
 public:
  FrozenLinear(Tensor weight, Tensor bias)
      : weight_(std::make_shared<kernels::FrozenWeight>(std::move(weight), std::move(bias))) {}
  FrozenLinear(WeightInFile weight, Tensor bias)
      : weight_(std::make_shared<kernels::FrozenWeight>(weight.meta, std::move(weight.load), std::move(bias))) {}
  Tensor forward(const Tensor& x, Context&) const override { return linear(x, weight_); }
  const std::shared_ptr<const kernels::FrozenWeight>& frozen() const override { return weight_; }

 private:
  std::shared_ptr<const kernels::FrozenWeight> weight_;
};

}  // namespace mora
