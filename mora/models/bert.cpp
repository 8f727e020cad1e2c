#include "mora/models/bert.h"

#include <algorithm>
#include <cmath>

#include "autograd/ops/arithmetic.h"
#include "autograd/ops/attention.h"
#include "autograd/ops/elementary.h"
#include "autograd/ops/shape.h"
#include "mora/models/activation.h"

namespace mora {

struct BertNames {
  std::string_view layer, query, key, value, attention_output, attention_norm, intermediate, output, output_norm;
};

namespace {

constexpr BertNames kBertNames{.layer = "encoder.layer",
                               .query = "attention.self.query",
                               .key = "attention.self.key",
                               .value = "attention.self.value",
                               .attention_output = "attention.output.dense",
                               .attention_norm = "attention.output.LayerNorm",
                               .intermediate = "intermediate.dense",
                               .output = "output.dense",
                               .output_norm = "output.LayerNorm"};
constexpr BertNames kDistilBertNames{.layer = "transformer.layer",
                                     .query = "attention.q_lin",
                                     .key = "attention.k_lin",
                                     .value = "attention.v_lin",
                                     .attention_output = "attention.out_lin",
                                     .attention_norm = "sa_layer_norm",
                                     .intermediate = "ffn.lin1",
                                     .output = "ffn.lin2",
                                     .output_norm = "output_layer_norm"};

}  // namespace

Bert::Bert(HfConfig hf, std::shared_ptr<const ModelWeights> weights, DType dtype)
    : Model(std::move(hf), dtype),
      names_(config().model_type == "distilbert" ? kDistilBertNames : kBertNames),
      prefix_(config().model_type + ".") {
  const HfConfig& c = config();
  const WeightReader read(std::move(weights), prefix_);
  const int64_t d = c.hidden_size, f = c.intermediate_size;
  word_embeddings_ = read.embedding("embeddings.word_embeddings", c.vocab_size, d, dtype);
  position_embeddings_ = read.embedding("embeddings.position_embeddings", c.max_position_embeddings, d, dtype);
  if (c.type_vocab_size > 0)
    type_embeddings_ = read.embedding("embeddings.token_type_embeddings", c.type_vocab_size, d, dtype);
  embedding_norm_.emplace(read, "embeddings.LayerNorm", d, c.norm_eps);
  for (size_t i = 0; i < size_t(c.num_hidden_layers); ++i) {
    const std::string at = layer_path(i);
    auto linear = [&](std::string_view name, int64_t out, int64_t in) {
      return read.linear(at + std::string(name), out, in, true);
    };
    auto norm = [&](std::string_view name) { return LayerNormWeights(read, at + std::string(name), d, c.norm_eps); };
    layers_.push_back({.query = linear(names_.query, d, d),
                       .key = linear(names_.key, d, d),
                       .value = linear(names_.value, d, d),
                       .attention_output = linear(names_.attention_output, d, d),
                       .attention_norm = norm(names_.attention_norm),
                       .intermediate = linear(names_.intermediate, f, d),
                       .output = linear(names_.output, d, f),
                       .output_norm = norm(names_.output_norm)});
  }
  read_pooler(read);
}

void Bert::read_pooler(const WeightReader& read) {
  // By family: BERT's own pooler; the first layer of RoBERTa's and of DistilBERT's classification head.
  for (const auto& [path, outside] :
       {std::pair("classifier.dense", true), {"pre_classifier", true}, {"pooler.dense", false}}) {
    if (!read.contains(std::string(path) + ".weight")) continue;
    pooler_path_ = (outside ? "" : prefix_) + path;
    pooler_ = read.linear(path, config().hidden_size, config().hidden_size, true);
    return;
  }
}

std::string Bert::layer_path(size_t i) const { return fmt::format("{}.{}.", names_.layer, i); }

Tensor Bert::embed(const Sequences& s, Context& context) const {
  Tensor positions = s.positions.tensor();
  if (const int32_t first = int32_t(first_position(config())); first > 0) {
    std::vector<int32_t> shifted;
    for (int32_t p : s.positions.values()) shifted.push_back(p + first);
    positions = Tensor::from(shifted, {s.tokens()}).to(device());
  }
  Tensor sum = word_embeddings_->forward(s.ids.tensor(), context) + position_embeddings_->forward(positions, context);
  if (type_embeddings_) {
    const Tensor types = s.type_ids.defined() ? s.type_ids.tensor() : Tensor::zeros({s.tokens()}, DType::i32, device());
    sum = sum + type_embeddings_->forward(types, context);
  }
  return (*embedding_norm_)(sum);  // (N, d)
}

// `wanted` are rows of x, `offsets` where their sequences begin.
Tensor Bert::attend(const Layer& layer, const Tensor& x, const Tensor& wanted, const Indices& offsets,
                    const Sequences& s, Context& context) const {
  const HfConfig& c = config();
  const auto heads = [&c](const Tensor& y) { return reshape(y, {y.dim(0), c.num_attention_heads, c.head_dim}); };
  Tensor q, k, v;
  if (wanted.dim(0) == x.dim(0)) {  // all of them
    const auto qkv = forward_all(x, context, layer.query, layer.key, layer.value);
    q = heads(qkv[0]), k = heads(qkv[1]), v = heads(qkv[2]);
  } else {
    const auto kv = forward_all(x, context, layer.key, layer.value);
    q = heads(layer.query->forward(wanted, context)), k = heads(kv[0]), v = heads(kv[1]);
  }
  const Tensor y = attention(q, k, v, offsets, s.offsets, {.scale = 1 / std::sqrt(double(c.head_dim))});
  return layer.attention_output->forward(reshape(y, wanted.shape()), context);
}

Tensor Bert::block(const Layer& layer, const Tensor& x, Wanted wanted, const Sequences& s, Context& context) const {
  const bool all = wanted == Wanted::all;
  const Tensor rows = all ? x : first_rows(x, s.offsets);
  const Tensor h = layer.attention_norm(attend(layer, x, rows, all ? s.offsets : s.one_each, s, context) + rows);
  const Tensor inner = activate(config().activation, layer.intermediate->forward(h, context));  // (N, ffn)
  return layer.output_norm(layer.output->forward(inner, context) + h);
}

Tensor Bert::run_blocks(Wanted of_the_last, const Sequences& sequences, Context& context) const {
  const Sequences s = checked(sequences);
  Tensor x = embed(s, context);
  for (const Layer& layer : layers_) {
    const Wanted wanted = &layer == &layers_.back() ? of_the_last : Wanted::all;
    x = run_block(x, context,
                  [this, &layer, wanted, s](const Tensor& in, Context& c) { return block(layer, in, wanted, s, c); });
  }
  return x;
}

Tensor Bert::hidden_states(const Sequences& sequences, Context& context) const {
  return run_blocks(Wanted::all, sequences, context);
}

// Of the last block only keys and values are of all tokens: most of its work is saved.
Tensor Bert::first_states(const Sequences& sequences, Context& context) const {
  const Layer& last = layers_.back();
  const LinearSlot* const of_firsts[]{&last.query, &last.attention_output, &last.intermediate, &last.output};
  const bool can_leave_out =
      std::ranges::none_of(of_firsts, [](const auto* slot) { return (*slot)->needs_all_tokens(); });
  if (!sequences.one_each.defined() || !can_leave_out) return Model::first_states(sequences, context);
  return run_blocks(Wanted::firsts, sequences, context);
}

Tensor Bert::pooler(const Tensor& first, Context& context) const {
  if (!pooler_) return Model::pooler(first, context);
  const Tensor y = pooler_->forward(first, context);
  return config().model_type == "distilbert" ? relu(y) : tanh(y);
}

void Bert::visit_weights(FunctionRef<void(Tensor& weight)> visit) {
  embedding_norm_->visit(visit);
  for (Layer& layer : layers_) {
    layer.attention_norm.visit(visit);
    layer.output_norm.visit(visit);
  }
}

void Bert::visit_linears(LinearVisitor visit) {
  for (size_t i = 0; i < layers_.size(); ++i) {
    const std::string at = prefix_ + layer_path(i);
    auto show = [&](std::string_view name, LinearSlot& slot) { visit(at + std::string(name), slot); };
    Layer& layer = layers_[i];
    show(names_.query, layer.query);
    show(names_.key, layer.key);
    show(names_.value, layer.value);
    show(names_.attention_output, layer.attention_output);
    show(names_.intermediate, layer.intermediate);
    show(names_.output, layer.output);
  }
}

void Bert::visit_extra_linears(LinearVisitor visit) {
  if (pooler_) visit(pooler_path_, pooler_);
}

void Bert::visit_embeddings(LinearVisitor visit) {
  visit(prefix_ + "embeddings.word_embeddings", word_embeddings_);
  visit(prefix_ + "embeddings.position_embeddings", position_embeddings_);
  if (type_embeddings_) visit(prefix_ + "embeddings.token_type_embeddings", type_embeddings_);
}

}  // namespace mora
