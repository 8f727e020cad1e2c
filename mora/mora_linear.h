// A frozen linear and what an adapter adds to it.
#pragma once

#include "mora/adapters/mora_layer.h"
#include "mora/models/linear.h"

namespace mora {

// y = x·Wᵀ + b + f(x), f a MoRALayer.  x (N, in) → (N, out)
class MoRALinear final : public Linear {
 public:
  MoRALinear(LinearSlot base, std::unique_ptr<MoRALayer> layer) : base_(std::move(base)), layer_(std::move(layer)) {}

  Tensor forward(const Tensor& x, Context& context) const override { return layer_->forward(x, frozen(), context); }
  const std::shared_ptr<const kernels::FrozenWeight>& frozen() const override { return base_->frozen(); }

  MoRALayer& layer() { return *layer_; }
  const MoRALayer& layer() const { return *layer_; }

 private:
  LinearSlot base_;
  std::unique_ptr<MoRALayer> layer_;
};

}  // namespace mora
