// AdaLoRA: Zhang et al. 2023, "Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning".
#pragma once

#include "mora/adapters/lora.h"

namespace mora {

// ΔW = s·B·diag(E)·A with E (r, 1); s = α/(r + 10⁻⁵) with the rank at the start. E = 0, A and B ~ N(0, 0.02) at the
// start; a penalty keeps A's rows and B's columns near orthonormal, so that E plays the singular values.
class AdaLoRA final : public LoRA {
 public:
  AdaLoRA(const AdapterSpec& spec, int64_t in, int64_t out, uint64_t seed, uint64_t index);
  // From trained tensors: A (r, in), B (out, r), E (r, 1).
  AdaLoRA(const AdapterSpec& spec, Tensor a, Tensor b, const Tensor& e, uint64_t index);

  void visit_parameters(ParameterVisitor visit) override {
    LoRA::visit_parameters(visit);
    visit("lora_E", e_);
  }
  double scaling() const override;
  void resize(std::span<const int64_t> kept, int64_t added, const RandomStream& stream) override;
  // ‖A·Aᵀ − I‖ + ‖Bᵀ·B − I‖ (Frobenius), a scalar.
  Tensor orthogonality() const;

 protected:
  Tensor factor_a() const override;  // diag(E)·A

 private:
  Tensor e_;
};

}  // namespace mora
