#include "mora/training/filled_batch.h"

#include <algorithm>
#include <bit>

namespace mora {

int64_t filled_count(int64_t count) {
  const auto step = std::max<int64_t>(8, int64_t(std::bit_ceil(uint64_t(count)) / 32));
  return (count + step - 1) / step * step;
}

PackedBatch filled(const PackedBatch& batch, Task task) {
  PackedBatch result = batch;
  const auto tokens = size_t(filled_count(batch.tokens() + 1));
  result.ids.resize(tokens, 0);
  result.positions.resize(tokens, 0);
  if (!batch.type_ids.empty()) result.type_ids.resize(tokens, 0);
  if (!batch.token_labels.empty()) result.token_labels.resize(tokens, kIgnoredLabel);
  const int64_t rows = batch.sequences() + 1;
  const auto sequences = size_t(task == Task::causal_lm ? filled_count(rows) : rows);
  result.offsets.resize(sequences + 1, int32_t(tokens));
  result.labels.resize(sequences, kIgnoredLabel);
  result.targets.resize(sequences, 0);
  result.rows.resize(sequences, -1);
  return result;
}

}  // namespace mora
