#include "mora/models/model.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "autograd/ops/embedding.h"
#include "autograd/ops/reduce.h"
#include "autograd/recompute.h"

namespace mora {

Indices consecutive(int64_t count) {
  std::vector<int32_t> values(static_cast<size_t>(count));
  std::iota(values.begin(), values.end(), 0);
  return Tensor::from(values, {count});
}

Sequences to_sequences(const PackedBatch& batch) {
  const Shape rows{batch.tokens()};
  return {.ids = Tensor::from(batch.ids, rows),
          .positions = Tensor::from(batch.positions, rows),
          .type_ids = batch.type_ids.empty() ? Indices() : Tensor::from(batch.type_ids, rows),
          .offsets = Tensor::from(batch.offsets, {int64_t(batch.offsets.size())}),
          .one_each = consecutive(int64_t(batch.offsets.size()))};
}

Sequences Sequences::to(Device device) const {
  Sequences there = *this;
  for (Indices* part : {&there.ids, &there.positions, &there.type_ids, &there.offsets, &there.one_each})
    *part = part->to(device);
  return there;
}

std::string_view name_of(Pooling pooling) {
  constexpr std::string_view names[] = {"pooler", "cls", "mean"};
  return names[size_t(pooling)];
}

int64_t first_position(const HfConfig& config) {
  return config.model_type == "roberta" ? config.pad_token_id.value_or(1) + 1 : 0;
}

int64_t longest_sequence(const HfConfig& config) {
  const bool learned = config.model_type == "gpt2" || config.model_type == "bert" ||
                       config.model_type == "distilbert" || config.model_type == "roberta";
  return learned ? config.max_position_embeddings - first_position(config) : std::numeric_limits<int32_t>::max();
}

Tensor Model::pooler(const Tensor&, Context&) const {
  fail<ConfigError>("head.pooling: pooler: this {} model has no pooler weights; use cls or mean", config_.model_type);
}

Tensor Model::pooled(const Sequences& sequences, Pooling pooling, Context& context) const {
  const Sequences s = sequences.to(device_);
  if (pooling == Pooling::mean) return segment_mean(hidden_states(s, context), s.offsets);
  const Tensor first = first_states(s, context);
  return pooling == Pooling::pooler ? pooler(first, context) : first;
}

Tensor Model::first_states(const Sequences& sequences, Context& context) const {
  return first_rows(hidden_states(sequences, context), sequences.offsets);
}

Tensor Model::first_rows(const Tensor& x, const Indices& offsets) {
  return gather_rows(x, offsets.tensor().alias({offsets.size() - 1}, {1}, offsets.tensor().offset()));
}

const std::shared_ptr<const kernels::FrozenWeight>& Model::lm_head() const {
  static const std::shared_ptr<const kernels::FrozenWeight> none;
  return none;
}

void Model::to(Device device) {
  visit_weights([&](Tensor& weight) { weight = weight.to(device); });
  device_ = device;
}

void Model::pack() {
  const auto prepare = [&](const kernels::FrozenWeight& weight) {
    if (device_ == cpu)
      weight.pack(dtype_);
    else
      (void)weight.resident(device_, dtype_);
  };
  visit_linears([&](const std::string&, LinearSlot& slot) { prepare(*slot->frozen()); });
  if (lm_head()) prepare(*lm_head());
}

void Model::drop_rows() {
  visit_linears([](const std::string&, LinearSlot& slot) { slot->frozen()->drop_rows(); });
  if (lm_head()) lm_head()->drop_rows();
}

Tensor Model::run_block(const Tensor& x, Context& context, Block f) {
  if (!context.recompute) return f(x, context);
  Context fresh = context;
  fresh.losses.clear();
  auto outputs_of = [f = std::move(f), fresh](std::span<const Tensor> in) -> Tensors {
    Context local = fresh;
    Tensors outputs{f(in[0], local)};
    outputs.insert(outputs.end(), local.losses.begin(), local.losses.end());
    return outputs;
  };
  const Tensors outputs = recompute(std::move(outputs_of), std::span(&x, 1));
  context.losses.insert(context.losses.end(), outputs.begin() + 1, outputs.end());
  return outputs[0];
}

Sequences Model::checked(const Sequences& sequences) const {
  for (int32_t id : sequences.ids.values()) {
    require<ShapeError>(id >= 0 && id < config_.vocab_size, "token id {}: the model's vocabulary has {}", id,
                        config_.vocab_size);
  }
  const int64_t longest = longest_sequence();
  for (int32_t position : sequences.positions.values()) {
    require<ShapeError>(position >= 0 && position < longest,
                        "a sequence of more than {} tokens: the model has no position {}", longest, position);
  }
  return sequences.to(device_);
}

}  // namespace mora
