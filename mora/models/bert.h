// BERT: Devlin et al. 2018, "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding". And its
// kin: RoBERTa, whose positions start behind its pad id; DistilBERT, without token types.
#pragma once

#include <optional>
#include <vector>

#include "mora/models/model.h"
#include "mora/models/weights.h"

namespace mora {

struct BertNames;  // what a family calls its parts

// Post-norm encoder: learned positions, full attention, GELU.
class Bert final : public Model {
 public:
  Bert(HfConfig config, std::shared_ptr<const ModelWeights> weights, DType dtype);

  Tensor hidden_states(const Sequences& sequences, Context& context) const override;
  void visit_linears(LinearVisitor visit) override;
  void visit_extra_linears(LinearVisitor visit) override;
  void visit_embeddings(LinearVisitor visit) override;
  // The dense layer and activation of the family's …ForSequenceClassification.
  Tensor pooler(const Tensor& first, Context& context) const override;
  bool has_pooler() const override { return bool(pooler_); }

 protected:
  Tensor first_states(const Sequences& sequences, Context& context) const override;
  void visit_weights(FunctionRef<void(Tensor& weight)> visit) override;

 private:
  struct Layer {
    LinearSlot query, key, value, attention_output;
    LayerNormWeights attention_norm;
    LinearSlot intermediate, output;
    LayerNormWeights output_norm;
  };

  std::string layer_path(size_t i) const;  // without the prefix
  void read_pooler(const WeightReader& read);
  Tensor embed(const Sequences& sequences, Context& context) const;
  // The rows `wanted` of a block's output for its input x (N, d): all N, or the first of each sequence, (B, d).
  enum class Wanted { all, firsts };
  Tensor attend(const Layer& layer, const Tensor& x, const Tensor& wanted, const Indices& offsets,
                const Sequences& sequences, Context& context) const;
  Tensor block(const Layer& layer, const Tensor& x, Wanted wanted, const Sequences& sequences, Context& context) const;
  Tensor run_blocks(Wanted of_the_last, const Sequences& sequences, Context& context) const;

  const BertNames& names_;
  std::string prefix_;  // "bert.", "roberta." or "distilbert."
  LinearSlot word_embeddings_, position_embeddings_, type_embeddings_;
  std::optional<LayerNormWeights> embedding_norm_;
  std::vector<Layer> layers_;
  std::string pooler_path_;
  LinearSlot pooler_;
};

}  // namespace mora
