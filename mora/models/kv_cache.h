// Keys and values of the tokens a model has seen, so that the next token costs one row and not the whole sequence.
#pragma once

#include <limits>
#include <vector>

#include "kernels/attention.h"
#include "mora/models/model.h"

namespace mora {

// Used by one batch of generation at a time, without recording of gradients.
class KvCache {
 public:
  KvCache(int64_t layers, int64_t sequences) : layers_(size_t(layers)) {
    for (auto& layer : layers_) layer.resize(size_t(sequences));
  }

  // Appends k, v of the new tokens (N, G, D) to what layer `layer` holds of each sequence, and gives the attention of q
  // (N, H, D) over all of it: query i of a sequence is its last token but (new tokens − 1 − i). offsets (B+1) are of
  // the new tokens. Throws ShapeError when B is not the cache's number of sequences.
  Tensor attend(int64_t layer, const Tensor& q, const Tensor& k, const Tensor& v, const Indices& offsets,
                const kernels::AttentionShape& shape);

  // What a layer holds of a sequence: rows with room to grow, to no more than the longest length.
  struct Entry {
    Tensor keys, values;  // (capacity, G, D), head by head in memory
    int64_t length = 0, longest = std::numeric_limits<int64_t>::max();
    void grow(const Meta& rows);  // by rows like those (tokens, G, D), not yet written
    void append(const Tensor& k, const Tensor& v);
  };
  // Appends a row like that (1, G, D), not yet written, to what layer `layer` holds of the only sequence. Throws
  // ShapeError when the cache has not one sequence.
  Entry& append_row(int64_t layer, const Meta& row);

  // A sequence without tokens, which will have at most `longest`, takes place `at`; those from there on move up by one.
  void insert(size_t at, int64_t longest);
  // Keeps these sequences (rising indices) and forgets the others.
  void keep(const std::vector<size_t>& sequences);

 private:
  std::vector<std::vector<Entry>> layers_;  // by layer, by sequence
};

// Causal attention inside each sequence, over the cache's tokens too where the batch has a cache.  q (N, H, D); k, v
// (N, G, D). window: how many positions a query sees, itself included; 0: all before it.
Tensor causal_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Sequences& sequences, int64_t layer,
                        int64_t window);

}  // namespace mora
