#include "engine/parallel.h"

#include <omp.h>

#include <algorithm>
#include <exception>
#include <vector>

#include "engine/spin.h"
#include "engine/team.h"

namespace mora {

int threads() { return omp_get_max_threads(); }
void set_threads(int n) { omp_set_num_threads(std::max(1, n)); }

void parallel_for(int64_t n, int64_t grain, FunctionRef<void(int64_t, int64_t)> f) {
  if (n <= 0) return;
  const int64_t parts = std::min<int64_t>(threads(), n / std::max<int64_t>(1, grain));
  if (parts <= 1 || omp_in_parallel()) {
    f(0, n);
    return;
  }
  std::exception_ptr error;
#pragma omp parallel num_threads(int(parts))
  {
    const int64_t i = omp_get_thread_num();
    const int64_t count = omp_get_num_threads();
    const int64_t begin = n * i / count;
    const int64_t end = n * (i + 1) / count;
    try {
      if (begin < end) f(begin, end);
    } catch (...) {
#pragma omp critical
      if (!error) error = std::current_exception();
    }
  }
  if (error) std::rethrow_exception(error);
}

void TeamMember::meet() {
  arrivals_[size_t(index_)].meeting.store(++meeting_, std::memory_order_release);
  for (const Arrival& other : arrivals_)
    spin_until([&] { return other.meeting.load(std::memory_order_acquire) >= meeting_; });
}

void with_team(FunctionRef<void(TeamMember& member)> f) {
  const bool alone = threads() == 1 || omp_in_parallel();
  std::vector<TeamMember::Arrival> arrivals(alone ? 1 : size_t(threads()));
  const auto run = [&](int index, int size) noexcept {
    TeamMember member({arrivals.data(), size_t(size)}, index);
    f(member);
  };
  if (alone) return run(0, 1);
#pragma omp parallel num_threads(int(arrivals.size()))
  run(omp_get_thread_num(), omp_get_num_threads());
}

}  // namespace mora
