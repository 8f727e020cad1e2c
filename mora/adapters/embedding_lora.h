// LoRA on an embedding, as PEFT has it.
#pragma once

#include "mora/adapters/mora_layer.h"

namespace mora {

// The row of token i is E_i + s·A_i·Bᵀ with A (V, r), B (d, r): of A only the rows looked up are read. PEFT's
// lora_embedding_A is A's transpose. A = 0, B ~ N(0, 1) at the start. No dropout, as in PEFT. A head tied to E reads E
// alone.
class EmbeddingLoRA final : public MoRALayer {
 public:
  // `activations` is the dtype of what the embedding gives.
  EmbeddingLoRA(const AdapterSpec& spec, int64_t rows, int64_t d, DType activations, uint64_t seed, uint64_t index);
  // From trained tensors: A (V, r), B (d, r).
  EmbeddingLoRA(const AdapterSpec& spec, const Tensor& a, const Tensor& b, DType activations);

  // ids i32 (N) → (N, d)
  Tensor update(const Tensor& ids, Context& context) const override;
  Tensor forward(const Tensor& ids, const FrozenWeightPtr& w, Context& context) const override;
  void visit_parameters(ParameterVisitor visit) override {
    visit("lora_embedding_A", a_);
    visit("lora_embedding_B", b_);
  }
  Tensor merged() const override;  // (d, V), a view of ΔE (V, d) seen transposed
  LowRank as_low_rank() const override;
  int64_t rank() const override { return a_.dim(1); }
  const AdapterSpec& spec() const override { return spec_; }

 private:
  AdapterSpec spec_;
  DType activations_;
  Tensor a_, b_;
};

}  // namespace mora
