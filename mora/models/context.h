// What a forward pass carries besides tensors.
#pragma once

#include <map>
#include <vector>

#include "engine/random.h"
#include "engine/tensor.h"

namespace mora {

// What a routed layer did with the tokens of a batch.
struct RoutedTokens {
  int64_t tokens = 0;
  std::vector<std::vector<int64_t>> slots;  // tokens that chose each expert, level by level of their tree
  double entropy = 0;                       // of the router's probabilities, in nats, summed over the tokens
  double steps = 0;                         // of adaptive computation, summed over the tokens; 0: it has none
  std::vector<double> unrouted;  // dynmoe: Σ x/‖x‖ over the tokens that no expert's threshold let in; empty: none
};
using RoutedLayers = std::map<uint64_t, RoutedTokens>;  // by the layer's number

// What each token of a batch used, summed over the layers that route it.
struct TokenRouting {
  std::vector<double> experts, entropy;  // (N); entropy in nats
  int64_t layers = 0;
};

// Rows of a batch that go by one of a model's adapters (mora/multi_adapter_model.h); 0: by none.
struct AdapterRows {
  size_t adapter = 0;
  int64_t begin = 0, end = 0;
};

// Names the update a forward pass belongs to (dropout and router noise are drawn from it) and collects what layers add
// to the loss (balance losses, ponder costs).
struct Context {
  bool training = false;
  bool recompute = false;  // blocks keep their inputs alone for the backward, which runs them again
  uint64_t seed = 0;
  uint64_t epoch = 0;
  uint64_t step = 0;                 // micro-batches since the start
  Tensors losses;                    // scalars, already weighted
  RoutedLayers* routed = nullptr;    // where routed layers note what they did; a recomputed block notes the same again
  TokenRouting* by_token = nullptr;  // the same of each token; of a batch that goes by one adapter
  std::vector<AdapterRows> adapter_rows = {};  // end to end; none: no adapter, a single one: it holds for all rows
  // Epoch and step once more, i64 (2), on the device: where a graph that is replayed reads them (engine/graph.h).
  Tensor clock = {};

  RandomKey key(uint64_t layer, Purpose purpose) const { return {seed, epoch, step, layer, purpose}; }
};

}  // namespace mora
