// Llama (Touvron et al. 2023, "LLaMA: Open and Efficient Foundation Language Models") and its kin: Llama 2 and 3,
// SmolLM2 and TinyLlama; Mistral, with a sliding window; Qwen2, with biases on queries, keys and values; Qwen3, with a
// norm of each query and key head.
#pragma once

#include <optional>
#include <vector>

#include "mora/models/model.h"
#include "mora/models/rotary_table.h"
#include "mora/models/weights.h"

namespace mora {

// Pre-norm decoder: RMS norm, rotary positions, grouped-query attention, SwiGLU.
class Llama final : public Model {
 public:
  Llama(HfConfig config, std::shared_ptr<const ModelWeights> weights, DType dtype);

  Tensor hidden_states(const Sequences& sequences, Context& context) const override;
  void visit_linears(LinearVisitor visit) override;
  void visit_embeddings(LinearVisitor visit) override { visit("model.embed_tokens", embeddings_); }
  const std::shared_ptr<const kernels::FrozenWeight>& lm_head() const override { return lm_head_; }

 protected:
  void visit_weights(FunctionRef<void(Tensor& weight)> visit) override;

 private:
  struct Layer {
    RmsNormWeights input_norm;
    LinearSlot query, key, value;
    std::optional<RmsNormWeights> query_norm, key_norm;
    LinearSlot attention_output;
    RmsNormWeights attention_norm;
    LinearSlot gate, up, down;
  };

  Layer read_layer(const WeightReader& read, const std::string& at) const;
  Tensor attend(size_t index, const Tensor& x, const Sequences& sequences, const RotaryAngles& angles,
                Context& context) const;
  Tensor block(size_t index, const Tensor& in, const Sequences& sequences, const RotaryAngles& angles,
               Context& context) const;
  Tensor decode(const Tensor& x, KvCache& cache, const RotaryAngles& angles) const;
  bool all_plain() const;  // no linear of a block is adapted

  RotaryTable rotary_;
  LinearSlot embeddings_;
  std::vector<Layer> layers_;
  std::optional<RmsNormWeights> norm_;
  std::shared_ptr<const kernels::FrozenWeight> lm_head_;
};

}  // namespace mora
