#include "loaders/batch.h"

#include <algorithm>
#include <limits>
#include <map>
#include <numeric>

#include "engine/error.h"
#include "loaders/permutation.h"

namespace mora {
namespace {

constexpr int64_t kWindowBatches = 50;

using Rows = std::vector<int64_t>;

// Consecutive rows, as many a batch as the limit allows.
void cut(const Rows& rows, std::span<const int32_t> lengths, const BatchOptions& options, std::vector<Rows>& batches) {
  int64_t tokens = 0;
  Rows batch;
  for (const int64_t row : rows) {
    const bool full = options.batch_tokens > 0 ? tokens + lengths[row] > options.batch_tokens
                                               : static_cast<int64_t>(batch.size()) == options.batch_size;
    if (full && !batch.empty()) {
      batches.push_back(std::move(batch));
      batch.clear();
      tokens = 0;
    }
    batch.push_back(row);
    tokens += lengths[row];
  }
  if (!batch.empty()) batches.push_back(std::move(batch));
}

// Rows come longest first; each goes to the fullest batch that still has room for it.
void best_fit(const Rows& rows, std::span<const int32_t> lengths, int64_t budget, std::vector<Rows>& batches) {
  std::multimap<int64_t, size_t> room;  // free tokens → batch
  for (const int64_t row : rows) {
    const auto fullest = room.lower_bound(lengths[row]);
    size_t batch = batches.size();
    int64_t left = budget;
    if (fullest == room.end()) {
      batches.emplace_back();
    } else {
      left = fullest->first;
      batch = fullest->second;
      room.erase(fullest);
    }
    batches[batch].push_back(row);
    room.emplace(left - lengths[row], batch);
  }
}

// How much a window holds, in rows or tokens (`total` of them in all): about kWindowBatches batches, fewer for a small
// data set, so that it has at least four windows, as in transformers.
int64_t window_size(int64_t total, int64_t batch) {
  return std::clamp<int64_t>(total / (4 * batch), 1, kWindowBatches) * batch;
}

// Cuts the permuted rows into windows.
std::vector<Rows> windows_of(const Rows& order, std::span<const int32_t> lengths, const BatchOptions& options) {
  const bool by_tokens = options.batch_tokens > 0;
  const auto size = [&](int64_t row) { return by_tokens ? int64_t{lengths[row]} : 1; };
  const int64_t total = std::accumulate(order.begin(), order.end(), int64_t{0},
                                        [&](int64_t sum, int64_t row) { return sum + size(row); });
  const int64_t most = window_size(total, by_tokens ? options.batch_tokens : options.batch_size);
  std::vector<Rows> windows;
  int64_t held = most;
  for (const int64_t row : order) {
    if (held + size(row) > most) {
      windows.emplace_back();
      held = 0;
    }
    windows.back().push_back(row);
    held += size(row);
  }
  return windows;
}

void check(std::span<const int32_t> lengths, const BatchOptions& options) {
  require<ConfigError>(options.batch_tokens >= 0, "train.batch_tokens: {}, expected at least 1", options.batch_tokens);
  require<ConfigError>(options.batch_tokens > 0 || options.batch_size > 0, "train.batch_size: {}, expected at least 1",
                       options.batch_size);
  for (size_t row = 0; row < lengths.size(); ++row) {
    require<ShapeError>(lengths[row] > 0, "epoch plan: row {} has no tokens", row);
    require<ConfigError>(options.batch_tokens == 0 || lengths[row] <= options.batch_tokens,
                         "train.batch_tokens: {} tokens cannot hold row {} of {}; raise it or lower data.max_length",
                         options.batch_tokens, row, lengths[row]);
  }
}

void append(std::vector<int32_t>& all, const std::vector<int32_t>& part, size_t tokens, int32_t filler) {
  if (part.empty()) {
    all.insert(all.end(), tokens, filler);
  } else {
    all.insert(all.end(), part.begin(), part.end());
  }
}

}  // namespace

PackedBatch pack(std::span<const Example* const> examples, std::span<const int64_t> rows) {
  require<ShapeError>(!examples.empty() && examples.size() == rows.size(), "pack: {} examples for {} rows",
                      examples.size(), rows.size());
  PackedBatch batch;
  size_t tokens = 0;
  bool typed = false, labelled = false;
  for (size_t b = 0; b < examples.size(); ++b) {
    const Example& example = *examples[b];
    const size_t count = example.ids.size();
    require<ShapeError>(count > 0, "pack: row {} has no tokens", rows[b]);
    require<ShapeError>(example.type_ids.empty() || example.type_ids.size() == count,
                        "pack: row {}: {} type ids for {} tokens", rows[b], example.type_ids.size(), count);
    require<ShapeError>(example.token_labels.empty() || example.token_labels.size() == count,
                        "pack: row {}: {} token labels for {} tokens", rows[b], example.token_labels.size(), count);
    tokens += count;
    typed |= !example.type_ids.empty();
    labelled |= !example.token_labels.empty();
  }
  require<ShapeError>(tokens <= std::numeric_limits<int32_t>::max(), "pack: {} tokens in one batch, at most 2^31 - 1",
                      tokens);
  batch.offsets.push_back(0);
  for (size_t b = 0; b < examples.size(); ++b) {
    const Example& example = *examples[b];
    const size_t count = example.ids.size();
    batch.ids.insert(batch.ids.end(), example.ids.begin(), example.ids.end());
    batch.positions.resize(batch.ids.size());
    std::iota(batch.positions.end() - static_cast<std::ptrdiff_t>(count), batch.positions.end(), 0);
    if (typed) append(batch.type_ids, example.type_ids, count, 0);
    if (labelled) append(batch.token_labels, example.token_labels, count, kIgnoredLabel);
    batch.offsets.push_back(static_cast<int32_t>(batch.ids.size()));
    batch.labels.push_back(example.label);
    batch.targets.push_back(example.target);
  }
  batch.rows.assign(rows.begin(), rows.end());
  return batch;
}

std::span<const int64_t> EpochPlan::batch(int64_t i) const {
  require<ShapeError>(i >= 0 && i < size(), "epoch plan: batch {} of {}", i, size());
  const auto at = static_cast<size_t>(i);
  return std::span(rows_).subspan(static_cast<size_t>(starts_[at]), static_cast<size_t>(starts_[at + 1] - starts_[at]));
}

void EpochPlan::add(std::span<const int64_t> batch) {
  rows_.insert(rows_.end(), batch.begin(), batch.end());
  starts_.push_back(static_cast<int64_t>(rows_.size()));
}

EpochPlan plan_epoch(std::span<const int32_t> lengths, const BatchOptions& options, uint64_t epoch) {
  check(lengths, options);
  std::vector<Rows> batches;
  EpochPlan plan;
  if (!options.shuffle) {
    Rows order(lengths.size());
    std::iota(order.begin(), order.end(), 0);
    cut(order, lengths, options, batches);
    for (const Rows& batch : batches) plan.add(batch);
    return plan;
  }
  const RandomKey key{.seed = options.seed, .epoch = epoch, .purpose = Purpose::shuffle};
  const Rows order = permutation(static_cast<int64_t>(lengths.size()), key);
  for (Rows& window : windows_of(order, lengths, options)) {
    std::stable_sort(window.begin(), window.end(), [&](int64_t a, int64_t b) { return lengths[a] > lengths[b]; });
    if (options.packing && options.batch_tokens > 0) {
      best_fit(window, lengths, options.batch_tokens, batches);
    } else {
      cut(window, lengths, options, batches);
    }
  }
  RandomKey batch_key = key;
  batch_key.step = 1;  // another stream than the rows'
  for (const int64_t i : permutation(static_cast<int64_t>(batches.size()), batch_key))
    plan.add(batches[static_cast<size_t>(i)]);
  return plan;
}

}  // namespace mora
