// A reduction's dimensions as it sees them.
#pragma once

#include <vector>

#include "engine/shape.h"

namespace mora::kernels {

struct DimensionGroup {
  int64_t size;
  bool reduced;
};

// The dimensions of size ≠ 1, neighbours of one kind merged; reduced are those whose bit is set in `dims`.
inline std::vector<DimensionGroup> group_dimensions(const Shape& shape, uint32_t dims) {
  std::vector<DimensionGroup> groups;
  for (int i = 0; i < shape.rank(); ++i) {
    const bool reduced = (dims >> i & 1u) != 0;
    if (shape[i] == 1) continue;
    if (!groups.empty() && groups.back().reduced == reduced) {
      groups.back().size *= shape[i];
    } else {
      groups.push_back({shape[i], reduced});
    }
  }
  return groups;
}

}  // namespace mora::kernels
