// A frozen linear and what an adapter adds to it.
#pragma once

#include "mora/adapters/mora_layer.h"
#include "mora/models/linear.h"

namespace mora {

// y = x·Wᵀ + b + f(x), f a MoRALayer.  x (N, in) → (N, out).  W is the model's own weight, or where the layer folds
// something into it (MoRALayer::base_shift) a copy in f32: the working weight.
class MoRALinear final : public Linear {
 public:
  MoRALinear(LinearSlot base, std::unique_ptr<MoRALayer> layer);

  Tensor forward(const Tensor& x, Context& context) const override { return layer_->forward(x, frozen(), context); }
  std::optional<AdaptedTerm> term(DType dtype, const Context& context) const override {
    return layer_->term(frozen(), dtype, context);
  }
  const FrozenWeightPtr& frozen() const override { return working_; }
  bool needs_all_tokens() const override { return layer_->needs_all_tokens(); }

  MoRALayer& layer() { return *layer_; }
  const MoRALayer& layer() const { return *layer_; }
  // After the layer's base_shift changed: the working weight is made anew from the model's own, rounded once.
  void rebase();
  // The linear as it was. This one goes on computing what it did, and can be rebased no more.
  LinearSlot release() { return std::move(base_); }

 private:
  LinearSlot base_;
  std::unique_ptr<MoRALayer> layer_;
  FrozenWeightPtr working_;
};

}  // namespace mora
