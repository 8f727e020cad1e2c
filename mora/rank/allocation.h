// Which components of which layers a budget keeps.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace mora {

struct AllocationLimits {
  int64_t least = 1;            // components a layer
  std::optional<int64_t> most;  // nothing: layers only shrink
};

// What becomes of one layer.
struct LayerAllocation {
  std::vector<int64_t> kept;  // of its components, rising
  int64_t added = 0;          // new ones
  int64_t rank() const { return int64_t(kept.size()) + added; }
};

// The components with the largest scores over all layers that `budget` parameters pay for, each layer within the limits
// (so the total may be above a budget that is too small for `least` of each). scores[l][i]: of component i of layer l,
// at least one a layer; sizes[l]: the parameters of one. A component that no longer fits gives way to the next smaller
// one. Of layers of one size that is AdaLoRA's choice. Given `most`, a layer may grow beyond its r components up to it:
// the i-th of them (from 1) would have the score of the layer's weakest one times r/i. For layers whose components are
// all alike that is D'Hondt's apportionment, by score, of the budget. Of equal scores, the earlier layer's and
// component's wins.
std::vector<LayerAllocation> allocate(std::span<const std::vector<double>> scores, std::span<const int64_t> sizes,
                                      int64_t budget, const AllocationLimits& limits);

}  // namespace mora
