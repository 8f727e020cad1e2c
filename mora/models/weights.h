// Reading a model's parts from its files by name.
#pragma once

#include "autograd/ops/norm.h"
#include "autograd/ops/shape.h"
#include "loaders/model_weights.h"
#include "mora/models/linear.h"

namespace mora {

// Looks for a name with and without the prefix of the model's task class ("bert." before "encoder.layer.0…").
class WeightReader {
 public:
  WeightReader(const ModelWeights& weights, std::string prefix) : weights_(weights), prefix_(std::move(prefix)) {}

  bool contains(const std::string& name) const { return weights_.contains(prefix_ + name) || weights_.contains(name); }
  // The tensor as it lies in the file. Throws IoError that names file and tensor when it is missing or has another
  // shape.
  Tensor tensor(const std::string& name, const Shape& shape) const {
    return weights_.load(weights_.contains(prefix_ + name) ? prefix_ + name
                         : weights_.contains(name)         ? name
                                                           : prefix_ + name,
                         shape);
  }
  // NAME.weight (out, in) and, where asked, NAME.bias (out).
  LinearSlot linear(const std::string& name, int64_t out, int64_t in, bool bias) const {
    return std::make_unique<FrozenLinear>(tensor(name + ".weight", {out, in}),
                                          bias ? tensor(name + ".bias", {out}) : Tensor());
  }
  // The same from GPT-2's Conv1D: NAME.weight (in, out) and NAME.bias.
  LinearSlot conv1d(const std::string& name, int64_t out, int64_t in) const {
    return std::make_unique<FrozenLinear>(contiguous(transpose(tensor(name + ".weight", {in, out}))),
                                          tensor(name + ".bias", {out}));
  }
  // The head of a language model: the embeddings (V, d) where they are tied, else lm_head.weight; null where that is
  // absent.
  std::shared_ptr<const kernels::FrozenWeight> lm_head(const Tensor& embeddings, bool tied) const {
    if (!tied && !contains("lm_head.weight")) return nullptr;
    return std::make_shared<kernels::FrozenWeight>(tied ? embeddings : tensor("lm_head.weight", embeddings.shape()),
                                                   Tensor());
  }

 private:
  const ModelWeights& weights_;
  std::string prefix_;
};

// A frozen layer norm over d features.
struct LayerNormWeights {
  Tensor weight, bias;
  double eps;

  LayerNormWeights(const WeightReader& read, const std::string& name, int64_t d, double epsilon);
  Tensor operator()(const Tensor& x) const { return layer_norm(x, weight, bias, eps); }
};

// A frozen RMS norm over d features.
struct RmsNormWeights {
  Tensor weight;
  double eps;

  RmsNormWeights(const WeightReader& read, const std::string& name, int64_t d, double epsilon);
  Tensor operator()(const Tensor& x) const { return rms_norm(x, weight, eps); }
};

}  // namespace mora
