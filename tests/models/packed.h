// Token lists as one packed batch.
#pragma once

#include <numeric>
#include <vector>

#include "mora/models/model.h"

namespace mora {

// Sequence b's tokens stand at positions starts[b], starts[b]+1, … (0, 1, … without starts).
inline Sequences packed(const std::vector<std::vector<int32_t>>& sequences, const std::vector<int32_t>& starts = {}) {
  std::vector<int32_t> ids, positions, offsets{0};
  for (size_t b = 0; b < sequences.size(); ++b) {
    ids.insert(ids.end(), sequences[b].begin(), sequences[b].end());
    positions.resize(ids.size());
    std::iota(positions.begin() + offsets.back(), positions.end(), starts.empty() ? 0 : starts[b]);
    offsets.push_back(int32_t(ids.size()));
  }
  return {.ids = Tensor::from(ids, {int64_t(ids.size())}),
          .positions = Tensor::from(positions, {int64_t(ids.size())}),
          .offsets = Tensor::from(offsets, {int64_t(offsets.size())}),
          .one_each = consecutive(int64_t(offsets.size()))};
}

}  // namespace mora
