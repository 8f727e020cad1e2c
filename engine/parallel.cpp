#include "engine/parallel.h"

#include <omp.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <memory>
#include <optional>
#include <vector>

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

// Reads ahead in part i of `count` of what the next job reads.
class ReadAhead {
 public:
  ReadAhead() = default;
  ReadAhead(const NextReads& next, int64_t i, int64_t count) : left_(most_bytes) {
    size_t total = 0, before = 0;
    for (const auto& bytes : next) total += bytes.size();
    const size_t begin = total * size_t(i) / size_t(count), end = total * size_t(i + 1) / size_t(count);
    for (size_t r = 0; r < next.size(); before += next[r++].size()) {
      const auto inside = [&](size_t at) { return std::clamp(at, before, before + next[r].size()) - before; };
      ranges_[r] = next[r].subspan(inside(begin), inside(end) - inside(begin));
    }
  }

  // A few cache lines, so that a job does not wait; whether there were any. They are loaded: what is only asked for
  // (prefetcht1) a busy processor drops.
  bool step() {
    const auto range = std::ranges::find_if(ranges_, [](const auto& bytes) { return !bytes.empty(); });
    if (range == ranges_.end() || left_ == 0) return false;
    const size_t size = std::min({range->size(), left_, size_t{256}});
    for (size_t at = 0; at < size; at += 64)
      static_cast<void>(*reinterpret_cast<const volatile char*>(range->data() + at));
    *range = range->subspan(size);
    left_ -= size;
    return true;
  }

 private:
  static constexpr size_t most_bytes = size_t{512} << 10;  // a second-level cache holds it beside other things
  NextReads ranges_;
  size_t left_ = 0;
};

// Jobs go from the leader to the members through one cache line, and word that they are done comes back through
// another.
class Crew {
 public:
  explicit Crew(int size) : size_(size), taken_(size_t(size)) {}

  void announce(const NextReads& next) { next_ = next; }

  // The leader's: one job, a part a thread. piece: 0, or the fewest indices that are taken from a part at once.
  void run(int64_t n, int64_t parts, int64_t piece, Body f) {
    FirstError error;
    // cppcheck-suppress danglingLifetime; no member reads it after the return
    job_ = {f, &error, n, std::min<int64_t>(parts, size_), piece, next_};
    next_ = {};
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
    ReadAhead ahead;
    for (uint64_t number = 1;; ++number) {
      const auto called = [&] { return number_.load(std::memory_order_acquire) == number; };
      while (!called() && ahead.step()) {
      }
      spin_until(called);
      if (!job_.f) return;
      if (!job_.next.front().empty()) ahead = ReadAhead(job_.next, member, size_);
      take(member);
      done_.fetch_add(1, std::memory_order_release);
    }
  }

 private:
  struct Job {
    std::optional<Body> f;  // none: there will be no more jobs
    FirstError* error = nullptr;
    int64_t n = 0, parts = 0, piece = 0;
    NextReads next;
  };
  // How much of a thread's part of a job is taken; in the upper half the job's number, so that nobody has to begin it.
  struct alignas(64) Taken {
    std::atomic<uint64_t> word = 0;
  };

  void take(int64_t i) {
    if (i >= job_.parts) return;
    job_.error->guard([&] {
      if (job_.piece == 0) return run_part(*job_.f, job_.n, i, job_.parts);
      for (int64_t j = 0; j < job_.parts; ++j) {
        while (take_piece((i + j) % job_.parts)) {
        }
      }
    });
  }

  // The next piece of part i, a third of what is left where that is more than the least; whether there was any.
  bool take_piece(int64_t i) {
    const int64_t begin = job_.n * i / job_.parts, size = job_.n * (i + 1) / job_.parts - begin;
    const uint64_t job = number_.load(std::memory_order_relaxed) << 32;
    std::atomic<uint64_t>& word = taken_[size_t(i)].word;
    for (uint64_t seen = word.load(std::memory_order_relaxed);;) {
      const int64_t taken = (seen ^ job) >> 32 == 0 ? int64_t(seen ^ job) : 0, left = size - taken;
      if (left == 0) return false;
      const int64_t piece = std::min(left, std::max(job_.piece, left / 3));
      if (!word.compare_exchange_weak(seen, job | uint64_t(taken + piece), std::memory_order_relaxed)) continue;
      (*job_.f)(begin + taken, begin + taken + piece);
      return true;
    }
  }

  alignas(64) std::atomic<uint64_t> number_ = 0;  // of the job
  Job job_;
  const int size_;
  NextReads next_;  // what the job after the next one reads
  std::vector<Taken> taken_;
  alignas(64) std::atomic<uint64_t> done_ = 0;  // by all members together
};

// That of the thread that leads one and is between two jobs.
thread_local Crew* own_crew = nullptr;

}  // namespace

int threads() { return omp_get_max_threads(); }
void set_threads(int n) { omp_set_num_threads(std::max(1, n)); }

namespace {

void run_parallel(int64_t n, int64_t grain, bool in_pieces, Body f) {
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
    return crew->run(n, parts, in_pieces ? std::max<int64_t>(1, grain) : 0, f);
  }
  FirstError error;
#pragma omp parallel num_threads(int(parts))
  error.guard([&] { run_part(f, n, omp_get_thread_num(), omp_get_num_threads()); });
  error.rethrow();
}

}  // namespace

void parallel_for(int64_t n, int64_t grain, Body f) { run_parallel(n, grain, false, f); }
void parallel_pieces(int64_t n, int64_t grain, Body f) { run_parallel(n, grain, true, f); }

void announce(const NextReads& next) {
  if (own_crew) own_crew->announce(next);
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
