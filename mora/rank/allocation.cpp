#include "mora/rank/allocation.h"

#include <algorithm>
#include <numeric>

namespace mora {
namespace {

struct Seat {  // the component that a layer gets next
  double score;
  size_t layer;
};

// Components of one layer, best first.
std::vector<int64_t> by_score(const std::vector<double>& scores) {
  std::vector<int64_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t i, int64_t j) { return scores[size_t(i)] > scores[size_t(j)]; });
  return order;
}

double score_of(const std::vector<double>& scores, const std::vector<int64_t>& order, int64_t place) {
  const auto r = int64_t(order.size());
  if (place < r) return scores[size_t(order[size_t(place)])];
  return scores[size_t(order.back())] * double(r) / double(place + 1);
}

}  // namespace

std::vector<LayerAllocation> allocate(std::span<const std::vector<double>> scores, std::span<const int64_t> sizes,
                                      int64_t budget, const AllocationLimits& limits) {
  std::vector<std::vector<int64_t>> orders;
  std::vector<Seat> seats;
  std::vector<int64_t> ranks;
  int64_t given = 0;
  for (size_t l = 0; l < scores.size(); ++l) {
    orders.push_back(by_score(scores[l]));
    const auto r = int64_t(scores[l].size());
    const int64_t least = limits.most ? limits.least : std::min(limits.least, r);
    ranks.push_back(least);
    given += least * sizes[l];
    for (int64_t place = least; place < limits.most.value_or(r); ++place)
      seats.push_back({score_of(scores[l], orders[l], place), l});
  }
  // A layer's seats fall in score and are of one size, so that taking the best that fit takes each layer's first ones.
  std::stable_sort(seats.begin(), seats.end(), [](const Seat& a, const Seat& b) { return a.score > b.score; });
  for (const Seat& seat : seats) {
    if (given + sizes[seat.layer] > budget) continue;
    given += sizes[seat.layer];
    ++ranks[seat.layer];
  }

  std::vector<LayerAllocation> result(scores.size());
  for (size_t l = 0; l < scores.size(); ++l) {
    const int64_t kept = std::min(ranks[l], int64_t(orders[l].size()));
    result[l].kept.assign(orders[l].begin(), orders[l].begin() + kept);
    std::sort(result[l].kept.begin(), result[l].kept.end());
    result[l].added = ranks[l] - kept;
  }
  return result;
}

}  // namespace mora
