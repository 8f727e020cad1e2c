// The merges of a BPE model, and the loop that applies them to one piece.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "loaders/tokenizer/flat_map.h"
#include "loaders/tokenizer/json_field.h"
#include "loaders/tokenizer/model.h"
#include "loaders/tokenizer/vocabulary.h"

namespace mora::tokenizer {

class BpeMerges {
 public:
  // "merges": pairs of tokens, as "a b" or ["a", "b"], by falling priority. `prefix` bytes at the begin of b are left
  // out of the merged token. `unknown` is the id of the unknown token, or −1. IoError for a pair that is malformed or,
  // like what it merges to, not in the vocabulary.
  BpeMerges(const JsonField& field, const Vocabulary& vocabulary, size_t prefix, int32_t unknown);

  // Merges `symbols` to the end and appends the ids that are left; symbols and queue are scratch. O(n log n).
  void run(std::vector<ModelWorkspace::Symbol>& symbols, std::vector<uint64_t>& queue, std::vector<int32_t>& ids) const;

  // Whether may_cross can tell.
  bool has_junctions() const { return has_junctions_; }

  // Whether some merge may join what ends with the symbol `left` to what begins with the symbol `right`. Both are what
  // pieces begin as, never the results of merges.
  bool may_cross(int32_t left, int32_t right) const { return junctions_.contains(pair_key(left, right)); }

 private:
  struct Merge {
    uint32_t rank = kNone;
    int32_t id = -1;  // of the merged token
  };
  static constexpr uint32_t kNone = ~uint32_t{0};

  void add(const JsonField& field, size_t i, const Vocabulary& vocabulary, size_t prefix);
  void find_junctions(const Vocabulary& vocabulary, int32_t unknown);
  uint32_t rank(int32_t left, int32_t right) const {
    const Merge* merge = merges_.find(pair_key(left, right));
    return merge == nullptr ? kNone : merge->rank;
  }
  void run_short(std::vector<ModelWorkspace::Symbol>& symbols, std::vector<int32_t>& ids) const;
  void run_long(std::vector<ModelWorkspace::Symbol>& symbols, std::vector<uint64_t>& queue,
                std::vector<int32_t>& ids) const;

  FlatMap<Merge> merges_;         // by pair_key(left, right)
  std::vector<int32_t> results_;  // by rank: the merged token
  std::vector<uint64_t> pairs_;   // by rank; given back when the junctions are known
  FlatMap<uint8_t> junctions_;    // pairs of symbols that some merge joins
  bool has_junctions_ = false;
};

}  // namespace mora::tokenizer
