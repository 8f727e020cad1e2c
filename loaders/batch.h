// Packed batches: the tokens of several sequences one after the other, with no padding, and which sequences make which
// batch of which epoch.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace mora {

constexpr int32_t kIgnoredLabel = -100;  // a token that no loss is taken at

// One row, tokenized.
struct Example {
  std::vector<int32_t> ids;       // (T)
  std::vector<int32_t> type_ids;  // (T), or empty: all 0
  std::vector<int32_t>
      token_labels;   // (T) or empty; token_labels[t] = ids[t] where the token is trained, else kIgnoredLabel
  int32_t label = 0;  // classification: the class
  float target = 0;   // regression
};

// B sequences of N tokens together. Sequence b owns tokens offsets[b] … offsets[b+1]−1.
struct PackedBatch {
  std::vector<int32_t> ids;           // (N)
  std::vector<int32_t> positions;     // (N), from 0 in each sequence
  std::vector<int32_t> type_ids;      // (N), or empty: all 0
  std::vector<int32_t> offsets;       // (B + 1)
  std::vector<int32_t> labels;        // (B)
  std::vector<int32_t> token_labels;  // (N), or empty where no example has any
  std::vector<float> targets;         // (B)
  std::vector<int64_t> rows;          // (B), where each sequence stands in the data set

  int64_t tokens() const { return static_cast<int64_t>(ids.size()); }      // N
  int64_t sequences() const { return static_cast<int64_t>(rows.size()); }  // B
};

// ShapeError: no examples, one without tokens, N over 2³¹−1, type ids or token labels of another length than the ids.
PackedBatch pack(std::span<const Example* const> examples, std::span<const int64_t> rows);

struct BatchOptions {
  int64_t batch_size = 32;   // sequences a batch; without meaning where batch_tokens is set
  int64_t batch_tokens = 0;  // 0, or the most tokens of a batch
  bool shuffle = true;       // false: file order, batch after batch, the last short one included
  bool packing = false;      // with batch_tokens and shuffle: fill each batch with whole sequences of any lengths
  uint64_t seed = 0;
};

// The batches of one epoch.
class EpochPlan {
 public:
  int64_t size() const { return static_cast<int64_t>(starts_.size()) - 1; }
  std::span<const int64_t> batch(int64_t i) const;  // indices into the lengths the plan was made of

  void add(std::span<const int64_t> batch);

 private:
  std::vector<int64_t> rows_;
  std::vector<int64_t> starts_{0};
};

// A pure function of its arguments: to resume at batch i of an epoch is to make the plan again and begin at i.
//
// With `shuffle` rows are permuted and cut into windows of about 50 batches. Within a window, rows of like length share
// a batch (sorted by length, as transformers' LengthGroupedSampler), or with `packing` rows are laid into batches of
// batch_tokens by best fit, longest first (Johnson et al. 1974). Then the order of all batches is shuffled.
//
// ConfigError: batch_size < 1, or a row longer than batch_tokens (named by its index).
EpochPlan plan_epoch(std::span<const int32_t> lengths, const BatchOptions& options, uint64_t epoch);

}  // namespace mora
