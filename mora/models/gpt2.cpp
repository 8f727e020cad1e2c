#include "mora/models/gpt2.h"

#include "autograd/ops/arithmetic.h"
#include "autograd/ops/shape.h"
#include "mora/models/activation.h"
#include "mora/models/kv_cache.h"

namespace mora {
namespace {

std::string layer_name(size_t i) { return fmt::format("h.{}.", i); }

}  // namespace

Gpt2::Gpt2(HfConfig hf, std::shared_ptr<const ModelWeights> weights, DType dtype) : Model(std::move(hf), dtype) {
  const HfConfig& c = config();
  const WeightReader read(std::move(weights), "transformer.");
  const int64_t d = c.hidden_size, f = c.intermediate_size;
  word_embeddings_ = read.embedding("wte", c.vocab_size, d, dtype);
  position_embeddings_ = read.embedding("wpe", c.max_position_embeddings, d, dtype);
  for (size_t i = 0; i < size_t(c.num_hidden_layers); ++i) {
    const std::string at = layer_name(i);
    layers_.push_back({.attention_norm = {read, at + "ln_1", d, c.norm_eps},
                       .query_key_value = read.conv1d(at + "attn.c_attn", 3 * d, d),
                       .attention_output = read.conv1d(at + "attn.c_proj", d, d),
                       .mlp_norm = {read, at + "ln_2", d, c.norm_eps},
                       .up = read.conv1d(at + "mlp.c_fc", f, d),
                       .down = read.conv1d(at + "mlp.c_proj", d, f)});
  }
  norm_.emplace(read, "ln_f", d, c.norm_eps);
  lm_head_ = read.lm_head(*word_embeddings_, c.tie_word_embeddings);
}

Tensor Gpt2::attend(size_t index, const Tensor& x, const Sequences& s, Context& context) const {
  const HfConfig& c = config();
  const Layer& layer = layers_[index];
  const int64_t heads = c.num_attention_heads;
  const Tensor qkv = reshape(layer.query_key_value->forward(x, context), {x.dim(0), 3 * heads, c.head_dim});
  auto third = [&](int64_t i) { return slice(qkv, 1, i * heads, heads); };  // (N, H, D), a view
  const Tensor y = causal_attention(third(0), third(1), third(2), s, int64_t(index), 0);
  return layer.attention_output->forward(reshape(y, x.shape()), context);
}

Tensor Gpt2::block(size_t index, const Tensor& in, const Sequences& s, Context& context) const {
  const Layer& layer = layers_[index];
  const Tensor x = in + attend(index, layer.attention_norm(in), s, context);  // (N, d)
  const Tensor inner = layer.up->forward(layer.mlp_norm(x), context);
  return x + layer.down->forward(activate(config().activation, inner), context);
}

Tensor Gpt2::hidden_states(const Sequences& sequences, Context& context) const {
  const Sequences s = checked(sequences);
  Tensor x =
      word_embeddings_->forward(s.ids.tensor(), context) + position_embeddings_->forward(s.positions.tensor(), context);
  for (size_t i = 0; i < layers_.size(); ++i)
    x = run_block(x, context, [this, i, s](const Tensor& in, Context& c) { return block(i, in, s, c); });
  return (*norm_)(x);
}

void Gpt2::visit_weights(FunctionRef<void(Tensor& weight)> visit) {
  for (Layer& layer : layers_) {
    layer.attention_norm.visit(visit);
    layer.mlp_norm.visit(visit);
  }
  norm_->visit(visit);
}

void Gpt2::visit_linears(LinearVisitor visit) {
  for (size_t i = 0; i < layers_.size(); ++i) {
    const std::string at = "transformer." + layer_name(i);
    Layer& layer = layers_[i];
    visit(at + "attn.c_attn", layer.query_key_value);
    visit(at + "attn.c_proj", layer.attention_output);
    visit(at + "mlp.c_fc", layer.up);
    visit(at + "mlp.c_proj", layer.down);
  }
}

void Gpt2::visit_embeddings(LinearVisitor visit) {
  visit("transformer.wte", word_embeddings_);
  visit("transformer.wpe", position_embeddings_);
}

}  // namespace mora
