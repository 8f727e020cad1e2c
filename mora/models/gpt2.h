// GPT-2: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners".
#pragma once

#include <optional>
#include <vector>

#include "mora/models/model.h"
#include "mora/models/weights.h"

namespace mora {

// Pre-norm decoder: layer norm, learned positions, one linear for queries, keys and values, GELU. Its files hold the
// weights of linears as (in, out).
class Gpt2 final : public Model {
 public:
  Gpt2(HfConfig config, std::shared_ptr<const ModelWeights> weights, DType dtype);

  Tensor hidden_states(const Sequences& sequences, Context& context) const override;
  void visit_linears(LinearVisitor visit) override;
  void visit_embeddings(LinearVisitor visit) override;
  const std::shared_ptr<const kernels::FrozenWeight>& lm_head() const override { return lm_head_; }

 protected:
  void visit_weights(FunctionRef<void(Tensor& weight)> visit) override;

 private:
  struct Layer {
    LayerNormWeights attention_norm;
    LinearSlot query_key_value, attention_output;
    LayerNormWeights mlp_norm;
    LinearSlot up, down;
  };

  Tensor attend(size_t index, const Tensor& x, const Sequences& sequences, Context& context) const;
  Tensor block(size_t index, const Tensor& in, const Sequences& sequences, Context& context) const;

  LinearSlot word_embeddings_, position_embeddings_;
  std::vector<Layer> layers_;
  std::optional<LayerNormWeights> norm_;
  std::shared_ptr<const kernels::FrozenWeight> lm_head_;
};

}  // namespace mora
