#include "mora/rank/budget.h"

namespace mora {

int64_t BudgetSchedule::at(int64_t update) const {
  if (update <= start && update < end) return initial;
  if (update >= end) return final;
  const double left = 1 - double(update - start) / double(end - start);
  return int64_t(double(initial - final) * (left * left * left) + double(final));
}

}  // namespace mora
