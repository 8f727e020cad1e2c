#include "engine/parallel.h"

#include <omp.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <memory>
#include <optional>

#include "engine/crew.h"

namespace mora {
namespace {

using Body = FunctionRef<void(int64_t, int64_t)>;

// The first exception of several threads.
class FirstError {
 public:
  template <class F>
  void guard(F f) {
    try {
      f();
    } catch (...) {
#pragma omp critical
      if (!error_) error_ = std::current_exception();
    }
  }
  void rethrow() const {
    if (error_) std::rethrow_exception(error_);
  }

 private:
  std::exception_ptr error_;
};

// Part i of `count` nearly equal ones of [0, n).
void run_part(Body f, int64_t n, int64_t i, int64_t count) {
  const int64_t begin = n * i / count, end = n * (i + 1) / count;
  if (begin < end) f(begin, end);
}

template <class Condition>
void spin_until(Condition met) {
  for (int64_t spins = 0; !met(); ++spins) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
    if (spins > 20000) ::sched_yield();  // somebody else needs the processor
  }
}

// Jobs go from the leader to the members through one cache line, and word that they are done comes back through
// another.
class Crew {
 public:
  explicit Crew(int size) : size_(size) {}

  // The leader's: one job.
  void run(int64_t n, int64_t parts, Body f) {
    FirstError error;
    // cppcheck-suppress danglingLifetime; no member reads it after the return
    job_ = {f, &error, n, std::min<int64_t>(parts, size_)};
    const uint64_t number = number_.load(std::memory_order_relaxed) + 1;
    number_.store(number, std::memory_order_release);
    take(0);
    spin_until([&] { return done_.load(std::memory_order_acquire) == number * uint64_t(size_ - 1); });
    error.rethrow();
  }
  void dismiss() {
    job_ = {};
    number_.fetch_add(1, std::memory_order_release);
  }

  // A member's: jobs until the dismissal.
  void serve(int64_t member) {
    for (uint64_t number = 1;; ++number) {
      spin_until([&] { return number_.load(std::memory_order_acquire) == number; });
      if (!job_.f) return;
      take(member);
      done_.fetch_add(1, std::memory_order_release);
    }
  }

 private:
  struct Job {
    std::optional<Body> f;  // none: there will be no more jobs
    FirstError* error = nullptr;
    int64_t n = 0, parts = 0;
  };

  void take(int64_t i) {
    if (i < job_.parts) job_.error->guard([&] { run_part(*job_.f, job_.n, i, job_.parts); });
  }

  alignas(64) std::atomic<uint64_t> number_ = 0;  // of the job
  Job job_;
  const int size_;
  alignas(64) std::atomic<uint64_t> done_ = 0;  // by all members together
};

// That of the thread that leads one and is between two jobs.
thread_local Crew* own_crew = nullptr;

}  // namespace

int threads() { return omp_get_max_threads(); }
void set_threads(int n) { omp_set_num_threads(std::max(1, n)); }

void parallel_for(int64_t n, int64_t grain, FunctionRef<void(int64_t, int64_t)> f) {
  if (n <= 0) return;
  const int64_t parts = std::min<int64_t>(threads(), n / std::max<int64_t>(1, grain));
  Crew* const crew = own_crew;
  if (parts <= 1 || (!crew && omp_in_parallel())) {
    f(0, n);
    return;
  }
  if (crew) {
    struct Lending {
      Crew* crew;
      ~Lending() { own_crew = crew; }
    } lending{crew};
    own_crew = nullptr;  // what the job calls runs inline
    return crew->run(n, parts, f);
  }
  FirstError error;
#pragma omp parallel num_threads(int(parts))
  error.guard([&] { run_part(f, n, omp_get_thread_num(), omp_get_num_threads()); });
  error.rethrow();
}

void with_crew(FunctionRef<void()> body) {
  if (threads() == 1 || omp_in_parallel()) return body();
  FirstError error;
  std::unique_ptr<Crew> crew;
#pragma omp parallel
  {
#pragma omp single
    crew = std::make_unique<Crew>(omp_get_num_threads());
    if (omp_get_thread_num() != 0) {
      crew->serve(omp_get_thread_num());
    } else {
      own_crew = crew.get();
      error.guard(body);
      own_crew = nullptr;
      crew->dismiss();
    }
  }
  error.rethrow();
}

}  // namespace mora
