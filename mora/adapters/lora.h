// LoRA: Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models".
#pragma once

#include "mora/adapters/mora_layer.h"

namespace mora {

// ΔW = s·B·A with A (r, in), B (out, r); s = α/r, or α/√r (rsLoRA). B = 0 at the start.
class LoRA final : public MoRALayer {
 public:
  // A ~ U(−1/√in, 1/√in), which is Kaiming's uniform with a = √5, or N(0, 1/r).
  LoRA(AdapterSpec spec, int64_t in, int64_t out, uint64_t seed, uint64_t index);
  // From tensors: A (r, in), B (out, r), floating.
  LoRA(AdapterSpec spec, Tensor a, Tensor b, uint64_t index);

  Tensor update(const Tensor& x, Context& context) const override;
  Tensor forward(const Tensor& x, const std::shared_ptr<const kernels::FrozenWeight>& w,
                 Context& context) const override;
  void visit_parameters(ParameterVisitor visit) override {
    visit("lora_A", a_);
    visit("lora_B", b_);
  }
  Tensor merged() const override;
  const AdapterSpec& spec() const override { return spec_; }
  double scaling() const;

 private:
  AdapterSpec spec_;
  uint64_t index_;
  Tensor a_, b_;
};

}  // namespace mora
