// A linear trained whole (PEFT's modules_to_save).
#pragma once

#include "mora/adapters/mora_layer.h"

namespace mora {

// y = x·W'ᵀ + b' with trained W' (out, in) and b' (out), which start at W and b.
class WholeLinear final : public MoRALayer {
 public:
  explicit WholeLinear(FrozenWeightPtr w);
  // From trained tensors of the shapes of w's.
  WholeLinear(FrozenWeightPtr w, const Tensor& weight, const Tensor& bias);

  Tensor update(const Tensor& x, Context& context) const override;
  Tensor forward(const Tensor& x, const FrozenWeightPtr& w, Context& context) const override;
  void visit_parameters(ParameterVisitor visit) override {
    visit("weight", weight_);
    if (bias_.defined()) visit("bias", bias_);
  }
  Tensor merged() const override;
  Tensor merged_bias() const override { return bias_; }
  LowRank as_low_rank() const override;
  int64_t rank() const override { return std::min(w_->in(), w_->out()); }
  const AdapterSpec& spec() const override { return spec_; }

 private:
  AdapterSpec spec_{.kind = AdapterSpec::Kind::whole};
  FrozenWeightPtr w_;
  Tensor weight_, bias_;
};

}  // namespace mora
