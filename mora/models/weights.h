// Reading a model's parts from its files by name.
#pragma once

#include "autograd/ops/norm.h"
#include "engine/parallel.h"
#include "loaders/model_weights.h"
#include "mora/models/linear.h"

namespace mora {

// Looks for a name with and without the prefix of the model's task class ("bert." before "encoder.layer.0…").
class WeightReader {
 public:
  WeightReader(std::shared_ptr<const ModelWeights> weights, std::string prefix)
      : weights_(std::move(weights)), prefix_(std::move(prefix)) {}

  bool contains(const std::string& name) const {
    return weights_->contains(prefix_ + name) || weights_->contains(name);
  }
  // The tensor as it lies in the file. Throws IoError that names file and tensor when it is missing or has another
  // shape.
  Tensor tensor(const std::string& name, const Shape& shape) const { return weights_->load(full(name), shape); }
  // NAME.weight (out, in), which stays in the file until it is used, and, where asked, NAME.bias (out).
  LinearSlot linear(const std::string& name, int64_t out, int64_t in, bool bias) const {
    return std::make_unique<FrozenLinear>(in_file(name + ".weight", {out, in}),
                                          bias ? tensor(name + ".bias", {out}) : Tensor());
  }
  // The same from GPT-2's Conv1D: NAME.weight (in, out) and NAME.bias.
  LinearSlot conv1d(const std::string& name, int64_t out, int64_t in) const {
    WeightInFile w = in_file(name + ".weight", {in, out});
    w.meta.shape = {out, in};
    w.load = [load = std::move(w.load)] { return contiguous(transpose(load())); };
    return std::make_unique<FrozenLinear>(std::move(w), tensor(name + ".bias", {out}));
  }
  // NAME.weight (V, d).
  LinearSlot embedding(const std::string& name, int64_t rows, int64_t d, DType activations) const {
    return std::make_unique<FrozenEmbedding>(tensor(name + ".weight", {rows, d}), activations);
  }
  // The head of a language model: the embeddings (V, d) where they are tied, else lm_head.weight; null where that is
  // absent.
  std::shared_ptr<const kernels::FrozenWeight> lm_head(const Linear& embeddings, bool tied) const {
    const Tensor table = transpose(embeddings.frozen()->weight());
    if (tied) return std::make_shared<kernels::FrozenWeight>(table, Tensor());
    if (!contains("lm_head.weight")) return nullptr;
    WeightInFile w = in_file("lm_head.weight", table.shape());
    return std::make_shared<kernels::FrozenWeight>(w.meta, std::move(w.load), Tensor());
  }

 private:
  std::string full(const std::string& name) const {
    return weights_->contains(prefix_ + name) || !weights_->contains(name) ? prefix_ + name : name;
  }
  // Throws as tensor() does, but loads nothing yet.
  WeightInFile in_file(const std::string& name, const Shape& shape) const {
    weights_->require_shape(full(name), shape);
    return {weights_->meta(full(name)), [weights = weights_, name = full(name)] { return weights->load(name); }};
  }

  std::shared_ptr<const ModelWeights> weights_;
  std::string prefix_;
};

// A frozen layer norm over d features.
struct LayerNormWeights {
  Tensor weight, bias;
  double eps;

  LayerNormWeights(const WeightReader& read, const std::string& name, int64_t d, double epsilon);
  Tensor operator()(const Tensor& x) const { return layer_norm(x, weight, bias, eps); }
  void visit(FunctionRef<void(Tensor& weight)> f) {
    f(weight);
    f(bias);
  }
};

// A frozen RMS norm over d features.
struct RmsNormWeights {
  Tensor weight;
  double eps;

  RmsNormWeights(const WeightReader& read, const std::string& name, int64_t d, double epsilon);
  Tensor operator()(const Tensor& x) const { return rms_norm(x, weight, eps); }
  void visit(FunctionRef<void(Tensor& weight)> f) { f(weight); }
};

}  // namespace mora
