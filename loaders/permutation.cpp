#include "loaders/permutation.h"

#include <numeric>
#include <utility>

namespace mora {

std::vector<int64_t> permutation(int64_t n, const RandomKey& key) {
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  const RandomStream random(key);
  for (uint64_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.below(i, i)]);
  return order;
}

}  // namespace mora
