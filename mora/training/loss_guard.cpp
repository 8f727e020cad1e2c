#include "mora/training/loss_guard.h"

#include <algorithm>

namespace mora {
namespace {

constexpr size_t window = 21;
constexpr double spike_factor = 4, exploded_factor = 10;

double median(std::vector<double> values) {
  const auto middle = values.begin() + std::ptrdiff_t(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace

std::optional<double> observe(LossHistory& history, double loss) {
  std::optional<double> spike_over;
  if (history.recent.size() >= window) {
    const double usual = median(history.recent);
    if (usual > 0 && loss > spike_factor * usual) {
      spike_over = usual;
      ++history.spikes;
    }
    history.recent.erase(history.recent.begin());
  }
  history.recent.push_back(loss);
  if (history.start <= 0 && history.recent.size() == window) history.start = median(history.recent);
  const bool far = history.start > 0 && loss > exploded_factor * history.start;
  history.far_above_start = far ? history.far_above_start + 1 : 0;
  return spike_over;
}

}  // namespace mora
