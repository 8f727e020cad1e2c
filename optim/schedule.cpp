#include "optim/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace mora {
namespace {

double half_cosine(double turns) { return 0.5 * (1.0 + std::cos(2.0 * std::numbers::pi * turns)); }

double decay_factor(DecayShape shape, double cycles, double progress) {
  switch (shape) {
    case DecayShape::cosine: return half_cosine(cycles * progress);
    case DecayShape::linear: return 1.0 - progress;
    case DecayShape::one_minus_sqrt: return 1.0 - std::sqrt(progress);
  }
  return 1.0;
}

double fraction(int64_t part, int64_t whole) {
  return static_cast<double>(part) / static_cast<double>(std::max<int64_t>(1, whole));
}

}  // namespace

double Schedule::multiplier(int64_t step) const {
  const auto above_floor = [this](double shape) { return std::max(0.0, min_ratio + (1.0 - min_ratio) * shape); };
  if (kind == ScheduleKind::constant) return 1.0;
  if (step < warmup) {
    const double rise = fraction(step, warmup);
    return kind == ScheduleKind::warmup_stable_decay ? above_floor(rise) : rise;
  }
  const double progress = fraction(step - warmup, total - warmup);
  switch (kind) {
    case ScheduleKind::linear: return above_floor(std::max(0.0, 1.0 - progress));
    case ScheduleKind::cosine: return above_floor(half_cosine((cycles > 0 ? cycles : 0.5) * progress));
    case ScheduleKind::cosine_with_restarts: {
      if (progress >= 1.0) return min_ratio;
      const double turn = std::fmod((cycles > 0 ? cycles : 1.0) * progress, 1.0);
      return above_floor(half_cosine(0.5 * turn));
    }
    case ScheduleKind::polynomial: return above_floor(std::pow(std::max(0.0, 1.0 - progress), power));
    case ScheduleKind::inverse_sqrt: {
      const int64_t timescale = warmup > 0 ? warmup : 10000;
      return std::max(min_ratio, 1.0 / std::sqrt(fraction(step + timescale - warmup, timescale)));
    }
    case ScheduleKind::warmup_stable_decay: {
      const int64_t decaying = step - (total - decay);
      if (decaying < 0) return 1.0;
      if (decaying >= decay) return min_ratio;
      return above_floor(decay_factor(decay_shape, cycles > 0 ? cycles : 0.5, fraction(decaying, decay)));
    }
    case ScheduleKind::constant:
    case ScheduleKind::constant_with_warmup: return 1.0;
  }
  return 1.0;
}

}  // namespace mora
