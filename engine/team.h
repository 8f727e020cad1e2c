// Threads that go through many short steps side by side: decoding makes some hundred a token, of a few to some tens of
// microseconds each, and waking threads for each of them would take as long.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>

#include "engine/parallel.h"

namespace mora {

// What one thread of a team knows.
class TeamMember {
 public:
  // To which meeting a member has come; a cache line of its own.
  struct alignas(64) Arrival {
    std::atomic<uint64_t> meeting = 0;
  };

  TeamMember(std::span<Arrival> arrivals, int index) : arrivals_(arrivals), index_(index) {}

  int index() const { return index_; }  // 0 is the thread that called
  // This thread's of the nearly equal parts of [0, n).
  int64_t begin(int64_t n) const { return n * index_ / std::ssize(arrivals_); }
  int64_t end(int64_t n) const { return n * (index_ + 1) / std::ssize(arrivals_); }
  // Returns when all threads of the team have come here; what each wrote before, all see after. Spins.
  void meet();

 private:
  const std::span<Arrival> arrivals_;  // by member
  const int index_;
  uint64_t meeting_ = 0;
};

// Calls f on threads() threads at once, or on this one alone from inside a parallel region. f throws nothing.
void with_team(FunctionRef<void(TeamMember& member)> f);

}  // namespace mora
