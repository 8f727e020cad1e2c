// DoRA: Liu et al. 2024, "DoRA: Weight-Decomposed Low-Rank Adaptation".
#pragma once

#include "mora/adapters/lora.h"

namespace mora {

// W' = m ⊙ (W + s·B·A)/‖W + s·B·A‖ with the norm of each row (an output's weights) and a trained magnitude m (out),
// ‖W‖ at the start. The norm is a constant to the gradient (section 4.3 of the paper).
class DoRA final : public LoRA {
 public:
  DoRA(const AdapterSpec& spec, FrozenWeightPtr w, uint64_t seed, uint64_t index);
  // From trained tensors: A (r, in), B (out, r), m (out).
  DoRA(const AdapterSpec& spec, Tensor a, Tensor b, const Tensor& magnitude, FrozenWeightPtr w, uint64_t index);

  Tensor update(const Tensor& x, Context& context) const override;
  Tensor forward(const Tensor& x, const FrozenWeightPtr& w, Context& context) const override;
  std::optional<AdaptedTerm> term(const FrozenWeightPtr&, DType, const Context&) const override { return {}; }
  void visit_parameters(ParameterVisitor visit) override {
    LoRA::visit_parameters(visit);
    visit("lora_magnitude_vector", magnitude_);
  }
  void to(Device device) override;
  Tensor merged() const override;
  LowRank as_low_rank() const override;

 private:
  Tensor row_norms() const;
  Tensor adapted(const Tensor& x) const;

  FrozenWeightPtr w_;
  Tensor squares_;    // ‖W‖² by rows (out), f64
  Tensor bias_;       // of W; undefined where there is none
  Tensor magnitude_;  // (out)
};

}  // namespace mora
