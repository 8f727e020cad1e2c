// Trained heads on top of pooled sequences.
#pragma once

#include "mora/models/model.h"

namespace mora {

// logits = pooled·Wᵀ + b, trained with the adapter. One output is a regression.
struct Classifier {
  Tensor weight;  // (classes, d)
  Tensor bias;    // (classes)

  // W ~ N(0, 0.02) as Hugging Face initialises it, from the seed; b = 0. Leaves, ready to be trained.
  static Classifier fresh(int64_t classes, int64_t d, uint64_t seed);
  Tensor forward(const Tensor& pooled) const;  // (B, d) → (B, classes)
};

// head.pooling: auto: the directory's 1_Pooling/config.json, else the pooler where its weights are, else the first
// token. Throws ConfigError for an unknown word, or for a 1_Pooling mode that is none of ours.
Pooling resolve_pooling(std::string_view word, const Model& model, const std::filesystem::path& directory);

}  // namespace mora
