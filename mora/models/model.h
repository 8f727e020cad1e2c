// What every transformer offers: hidden states of packed sequences, its linears by name, its pooled sequences.
#pragma once

#include <functional>
#include <string>

#include "autograd/indices.h"
#include "engine/parallel.h"
#include "loaders/batch.h"
#include "loaders/hf_config.h"
#include "mora/models/linear.h"

namespace mora {

class KvCache;

// A packed batch as tensors: N tokens of B sequences, one after the other, no padding. A model brings it to its device.
struct Sequences {
  Indices ids;            // (N)
  Indices positions;      // (N), from 0 in each sequence; with a cache, from the number of tokens it holds
  Indices type_ids = {};  // (N), or undefined: all 0
  Indices offsets;        // (B+1)
  Indices one_each = {};  // (B+1), 0 … B: the offsets of one token a sequence; or undefined, which costs time alone
  KvCache* cache = nullptr;  // decoding: these tokens follow those of the cache, and are added to it

  int64_t tokens() const { return ids.size(); }
  int64_t count() const { return offsets.size() - 1; }
  Sequences to(Device device) const;
};
Sequences to_sequences(const PackedBatch& batch);
Indices consecutive(int64_t count);  // 0 … count−1

// How a sequence becomes one vector.
enum class Pooling {
  pooler,  // the model's own dense layer over the first token, as Hugging Face's …ForSequenceClassification
  cls,     // the first token's hidden state
  mean,    // the mean over the sequence's tokens
};
std::string_view name_of(Pooling pooling);

// The most tokens a sequence may have: as many as there are learned positions; rotary ones have no end.
int64_t longest_sequence(const HfConfig& config);
// The position id of a sequence's first token: RoBERTa's start at pad_token_id + 1.
int64_t first_position(const HfConfig& config);

class Model {
 public:
  Model(HfConfig config, DType dtype) : config_(std::move(config)), dtype_(dtype) {}
  virtual ~Model() = default;
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  const HfConfig& config() const { return config_; }
  DType dtype() const { return dtype_; }     // of activations
  Device device() const { return device_; }  // of weights and activations

  // Brings the weights to a device; those of linears and embeddings follow when first used. Throws DeviceError where
  // there is none or too little memory.
  void to(Device device);

  // The last hidden state of each token, (N, d). Throws ShapeError for an id or a position the model has no row for.
  virtual Tensor hidden_states(const Sequences& sequences, Context& context) const = 0;

  using LinearVisitor = FunctionRef<void(const std::string& path, LinearSlot& slot)>;
  // The linears of the transformer blocks by their Hugging Face module path
  // ("bert.encoder.layer.0.attention.self.query"), in order.
  virtual void visit_linears(LinearVisitor visit) = 0;
  // Those outside the blocks (a pooler), which only an explicit target names.
  virtual void visit_extra_linears(LinearVisitor) {}
  // The embeddings, the words' first, each the linear of one-hot rows (FrozenEmbedding); only an explicit target names
  // them. A head that is tied to the words' table keeps to the table, whatever the slot holds.
  virtual void visit_embeddings(LinearVisitor visit) = 0;

  // The frozen head of a language model: hidden states (N, d) → logits (N, vocabulary). Null for encoders and where the
  // files have none.
  virtual const std::shared_ptr<const kernels::FrozenWeight>& lm_head() const;
  int64_t longest_sequence() const { return mora::longest_sequence(config_); }

  // The pooler over the first tokens' hidden states (B, d). Throws ConfigError where the model has none.
  virtual Tensor pooler(const Tensor& first, Context& context) const;
  virtual bool has_pooler() const { return false; }

  // The sequences' vectors (B, d).
  Tensor pooled(const Sequences& sequences, Pooling pooling, Context& context) const;

  // Packs the linears and the head for training, one after the other, so that no more than one of them is there in both
  // forms; on a device: brings them there.
  void pack();
  // Frees what decoding keeps of the weights beside the packed ones.
  void drop_rows();

 protected:
  // The sequences on the model's device. Throws ShapeError unless all ids are below the vocabulary's size and all
  // positions below the longest sequence's.
  Sequences checked(const Sequences& sequences) const;
  // The last hidden state of each sequence's first token, (B, d).
  virtual Tensor first_states(const Sequences& sequences, Context& context) const;
  // The first tokens' rows of x (N, d): (B, d).
  static Tensor first_rows(const Tensor& x, const Indices& offsets);
  // The weights beside the linears and embeddings: those of norms.
  virtual void visit_weights(FunctionRef<void(Tensor& weight)> visit) = 0;
  // One block of the stack, x (N, d) → (N, d). With context.recompute its activations are not kept: `f` runs again in
  // the backward, so it owns what it captures, draws from keyed streams alone, and tells the context it is given of
  // losses.
  using Block = std::function<Tensor(const Tensor& x, Context& context)>;
  static Tensor run_block(const Tensor& x, Context& context, Block f);

 private:
  HfConfig config_;
  DType dtype_;
  Device device_ = cpu;
};

}  // namespace mora
