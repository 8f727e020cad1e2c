#include "mora/models/bert.h"

#include <cmath>

#include "autograd/ops/arithmetic.h"
#include "autograd/ops/attention.h"
#include "autograd/ops/elementary.h"
#include "autograd/ops/embedding.h"
#include "autograd/ops/shape.h"
#include "mora/models/activation.h"

namespace mora {
namespace {

std::string layer_name(size_t i) { return fmt::format("encoder.layer.{}.", i); }

}  // namespace

Bert::Bert(HfConfig hf, const ModelWeights& weights, DType dtype)
    : Model(std::move(hf)), dtype_(dtype), prefix_(config().model_type + ".") {
  const HfConfig& c = config();
  const WeightReader read(weights, prefix_);
  const int64_t d = c.hidden_size, f = c.intermediate_size;
  word_embeddings_ = read.tensor("embeddings.word_embeddings.weight", {c.vocab_size, d});
  position_embeddings_ = read.tensor("embeddings.position_embeddings.weight", {c.max_position_embeddings, d});
  type_embeddings_ = read.tensor("embeddings.token_type_embeddings.weight", {c.type_vocab_size, d});
  embedding_norm_.emplace(read, "embeddings.LayerNorm", d, c.norm_eps);
  for (int64_t i = 0; i < c.num_hidden_layers; ++i) {
    const std::string at = layer_name(size_t(i));
    layers_.push_back({.query = read.linear(at + "attention.self.query", d, d, true),
                       .key = read.linear(at + "attention.self.key", d, d, true),
                       .value = read.linear(at + "attention.self.value", d, d, true),
                       .attention_output = read.linear(at + "attention.output.dense", d, d, true),
                       .attention_norm = {read, at + "attention.output.LayerNorm", d, c.norm_eps},
                       .intermediate = read.linear(at + "intermediate.dense", f, d, true),
                       .output = read.linear(at + "output.dense", d, f, true),
                       .output_norm = {read, at + "output.LayerNorm", d, c.norm_eps}});
  }
  if (read.contains("pooler.dense.weight")) pooler_ = read.linear("pooler.dense", d, d, true);
}

Tensor Bert::embed(const Sequences& s) const {
  Tensor positions = s.positions;
  if (config().model_type == "roberta") {  // position ids start at pad_token_id + 1
    const int32_t shift = int32_t(config().pad_token_id.value_or(1)) + 1;
    std::vector<int32_t> shifted;
    for (int32_t p : s.positions.values<int32_t>()) shifted.push_back(p + shift);
    positions = Tensor::from(shifted, s.positions.shape());
  }
  const Tensor types = s.type_ids.defined() ? s.type_ids : Tensor::zeros(s.ids.shape(), DType::i32);
  return (*embedding_norm_)(gather_rows(word_embeddings_, s.ids, dtype_) +
                            gather_rows(position_embeddings_, positions, dtype_) +
                            gather_rows(type_embeddings_, types, dtype_));  // (N, d)
}

Tensor Bert::attend(const Layer& layer, const Tensor& x, const Sequences& s, Context& context) const {
  const HfConfig& c = config();
  const Shape heads{x.dim(0), c.num_attention_heads, c.head_dim};
  const Tensor q = reshape(layer.query->forward(x, context), heads);  // (N, H, D)
  const Tensor k = reshape(layer.key->forward(x, context), heads);
  const Tensor v = reshape(layer.value->forward(x, context), heads);
  const Tensor y = attention(q, k, v, s.offsets, s.offsets, {.scale = 1 / std::sqrt(double(c.head_dim))});
  return layer.attention_output->forward(reshape(y, x.shape()), context);
}

Tensor Bert::hidden_states(const Sequences& s, Context& context) const {
  check(s);
  Tensor x = embed(s);
  for (const Layer& layer : layers_) {
    x = layer.attention_norm(attend(layer, x, s, context) + x);
    const Tensor inner = activate(config().activation, layer.intermediate->forward(x, context));  // (N, ffn)
    x = layer.output_norm(layer.output->forward(inner, context) + x);
  }
  return x;
}

Tensor Bert::pooler(const Tensor& first, Context& context) const {
  if (!pooler_) return Model::pooler(first, context);
  return tanh(pooler_->forward(first, context));
}

void Bert::visit_linears(LinearVisitor visit) {
  for (size_t i = 0; i < layers_.size(); ++i) {
    const std::string at = prefix_ + layer_name(i);
    Layer& layer = layers_[i];
    visit(at + "attention.self.query", layer.query);
    visit(at + "attention.self.key", layer.key);
    visit(at + "attention.self.value", layer.value);
    visit(at + "attention.output.dense", layer.attention_output);
    visit(at + "intermediate.dense", layer.intermediate);
    visit(at + "output.dense", layer.output);
  }
}

void Bert::visit_extra_linears(LinearVisitor visit) {
  if (pooler_) visit(prefix_ + "pooler.dense", pooler_);
}

}  // namespace mora
