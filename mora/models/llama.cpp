#include "mora/models/llama.h"

#include <algorithm>

#include "autograd/ops/arithmetic.h"
#include "autograd/ops/attention.h"
#include "autograd/ops/shape.h"
#include "autograd/ops/swiglu.h"
#include "kernels/decode.h"
#include "mora/models/kv_cache.h"

namespace mora {
namespace {

std::string layer_name(size_t i) { return fmt::format("layers.{}.", i); }

// x (N, H, D), each head normed on its own.
Tensor norm_heads(const std::optional<RmsNormWeights>& norm, const Tensor& x) {
  if (!norm) return x;
  return reshape((*norm)(reshape(x, {x.dim(0) * x.dim(1), x.dim(2)})), x.shape());
}

}  // namespace

Llama::Llama(HfConfig hf, std::shared_ptr<const ModelWeights> weights, DType dtype)
    : Model(std::move(hf), dtype), rotary_(config().rope, config().head_dim, dtype) {
  const HfConfig& c = config();
  require<ConfigError>(c.activation == HfActivation::silu, "{}: hidden_act: a {} model has silu",
                       weights->path().string(), c.model_type);
  const WeightReader read(std::move(weights), "model.");
  embeddings_ = read.embedding("embed_tokens", c.vocab_size, c.hidden_size, dtype);
  for (size_t i = 0; i < size_t(c.num_hidden_layers); ++i) layers_.push_back(read_layer(read, layer_name(i)));
  norm_.emplace(read, "norm", c.hidden_size, c.norm_eps);
  lm_head_ = read.lm_head(*embeddings_, c.tie_word_embeddings);
}

Llama::Layer Llama::read_layer(const WeightReader& read, const std::string& at) const {
  const HfConfig& c = config();
  const int64_t d = c.hidden_size, f = c.intermediate_size;
  const int64_t q = c.num_attention_heads * c.head_dim, kv = c.num_key_value_heads * c.head_dim;
  auto head_norm = [&](const char* name) {
    return c.qk_norm ? std::optional(RmsNormWeights(read, at + name, c.head_dim, c.norm_eps)) : std::nullopt;
  };
  return {.input_norm = {read, at + "input_layernorm", d, c.norm_eps},
          .query = read.linear(at + "self_attn.q_proj", q, d, c.qkv_bias),
          .key = read.linear(at + "self_attn.k_proj", kv, d, c.qkv_bias),
          .value = read.linear(at + "self_attn.v_proj", kv, d, c.qkv_bias),
          .query_norm = head_norm("self_attn.q_norm"),
          .key_norm = head_norm("self_attn.k_norm"),
          .attention_output = read.linear(at + "self_attn.o_proj", d, q, c.attention_output_bias),
          .attention_norm = {read, at + "post_attention_layernorm", d, c.norm_eps},
          .gate = read.linear(at + "mlp.gate_proj", f, d, c.mlp_bias),
          .up = read.linear(at + "mlp.up_proj", f, d, c.mlp_bias),
          .down = read.linear(at + "mlp.down_proj", d, f, c.mlp_bias)};
}

Tensor Llama::attend(size_t index, const Tensor& x, const Sequences& s, const RotaryAngles& angles,
                     Context& context) const {
  const HfConfig& c = config();
  const Layer& layer = layers_[index];
  const int64_t n = x.dim(0);
  auto turn = [&](const Tensor& heads) { return rotary(heads, angles.rows, angles.cos, angles.sin); };
  const auto qkv = forward_all(x, context, layer.query, layer.key, layer.value);
  const Tensor q = reshape(qkv[0], {n, c.num_attention_heads, c.head_dim});  // (N, H, D)
  const Tensor k = reshape(qkv[1], {n, c.num_key_value_heads, c.head_dim});  // (N, G, D)
  const Tensor v = reshape(qkv[2], k.shape());
  const Tensor y = causal_attention(turn(norm_heads(layer.query_norm, q)), turn(norm_heads(layer.key_norm, k)), v, s,
                                    int64_t(index), c.windows[index]);
  return layer.attention_output->forward(reshape(y, {n, c.num_attention_heads * c.head_dim}), context);
}

Tensor Llama::block(size_t index, const Tensor& in, const Sequences& s, const RotaryAngles& angles,
                    Context& context) const {
  const Layer& layer = layers_[index];
  const Tensor x = in + attend(index, layer.input_norm(in), s, angles, context);
  const auto [gate, up] = forward_all(layer.attention_norm(x), context, layer.gate, layer.up);
  return x + layer.down->forward(swiglu(gate, up), context);
}

Tensor Llama::hidden_states(const Sequences& sequences, Context& context) const {
  const Sequences s = checked(sequences);
  const RotaryAngles angles = rotary_.angles(s, device());
  Tensor x = embeddings_->forward(s.ids.tensor(), context);  // (N, d)
  const bool is_decode = s.cache && s.tokens() == 1 && s.count() == 1 && !grad_enabled();
  if (is_decode && device() == cpu && (dtype() == DType::f32 || dtype() == DType::bf16) && all_plain())
    return (*norm_)(decode(x, *s.cache, angles));
  for (size_t i = 0; i < layers_.size(); ++i) {
    x = run_block(x, context,
                  [this, i, s, angles](const Tensor& in, Context& c) { return block(i, in, s, angles, c); });
  }
  return (*norm_)(x);
}

// One token of one sequence, x (1, d), through all blocks by one kernel.
Tensor Llama::decode(const Tensor& x, KvCache& cache, const RotaryAngles& angles) const {
  const HfConfig& c = config();
  const Meta row{{1, c.num_key_value_heads, c.head_dim}, x.dtype(), x.device()};
  const auto weights = [](const std::optional<RmsNormWeights>& norm) {
    return norm ? norm->weight.data<float>() : nullptr;
  };
  std::vector<kernels::DecodeBlock> blocks;
  blocks.reserve(layers_.size());
  int64_t tokens = 0;
  for (size_t i = 0; i < layers_.size(); ++i) {
    const Layer& layer = layers_[i];
    KvCache::Entry& cached = cache.append_row(int64_t(i), row);
    tokens = cached.length;
    blocks.push_back({.input_norm = layer.input_norm.weight.data<float>(),
                      .attention_norm = layer.attention_norm.weight.data<float>(),
                      .query_norm = weights(layer.query_norm),
                      .key_norm = weights(layer.key_norm),
                      .query = layer.query->frozen().get(),
                      .key = layer.key->frozen().get(),
                      .value = layer.value->frozen().get(),
                      .attention_output = layer.attention_output->frozen().get(),
                      .gate = layer.gate->frozen().get(),
                      .up = layer.up->frozen().get(),
                      .down = layer.down->frozen().get(),
                      .keys = cached.keys.mutable_raw(),
                      .values = cached.values.mutable_raw(),
                      .capacity = cached.keys.dim(0),
                      .window = c.windows[i]});
  }
  const int64_t at = int64_t(angles.rows.values<int32_t>()[0]) * c.head_dim / 2;
  Tensor y = Tensor::empty(x.meta());
  kernels::decode(x, blocks,
                  {.heads = c.num_attention_heads,
                   .kv_heads = c.num_key_value_heads,
                   .dim = c.head_dim,
                   .tokens = tokens,
                   .cos = angles.cos.data<float>() + at,
                   .sin = angles.sin.data<float>() + at,
                   .eps = float(c.norm_eps)},
                  y);
  return y;
}

bool Llama::all_plain() const {
  return std::ranges::all_of(layers_, [](const Layer& layer) {
    const LinearSlot* const slots[]{&layer.query, &layer.key, &layer.value, &layer.attention_output,
                                    &layer.gate,  &layer.up,  &layer.down};
    return std::ranges::all_of(slots, [](const LinearSlot* slot) { return (*slot)->is_plain(); });
  });
}

void Llama::visit_weights(FunctionRef<void(Tensor& weight)> visit) {
  for (Layer& layer : layers_) {
    layer.input_norm.visit(visit);
    if (layer.query_norm) layer.query_norm->visit(visit);
    if (layer.key_norm) layer.key_norm->visit(visit);
    layer.attention_norm.visit(visit);
  }
  norm_->visit(visit);
}

void Llama::visit_linears(LinearVisitor visit) {
  for (size_t i = 0; i < layers_.size(); ++i) {
    const std::string at = "model." + layer_name(i);
    Layer& layer = layers_[i];
    visit(at + "self_attn.q_proj", layer.query);
    visit(at + "self_attn.k_proj", layer.key);
    visit(at + "self_attn.v_proj", layer.value);
    visit(at + "self_attn.o_proj", layer.attention_output);
    visit(at + "mlp.gate_proj", layer.gate);
    visit(at + "mlp.up_proj", layer.up);
    visit(at + "mlp.down_proj", layer.down);
  }
}

}  // namespace mora
