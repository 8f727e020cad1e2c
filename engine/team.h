// Threads that go through many short steps side by side: decoding makes some hundred a token, of a few to some tens of
// microseconds each, and waking threads for each of them would take as long.
#pragma once

#include <atomic>
#include <cstdint>

#include "engine/parallel.h"

namespace mora {

// What one thread of a team knows.
class TeamMember {
 public:
  TeamMember(std::atomic<uint64_t>& arrivals, int index, int size) : arrivals_(arrivals), index_(index), size_(size) {}

  int index() const { return index_; }  // 0 is the thread that called
  // This thread's of the nearly equal parts of [0, n).
  int64_t begin(int64_t n) const { return n * index_ / size_; }
  int64_t end(int64_t n) const { return n * (index_ + 1) / size_; }
  // Returns when all threads of the team have come here; what each wrote before, all see after. Spins.
  void meet();

 private:
  std::atomic<uint64_t>& arrivals_;  // of all members at all meetings
  uint64_t met_ = 0;
  const int index_, size_;
};

// Calls f on threads() threads at once, or on this one alone from inside a parallel region. f throws nothing.
void with_team(FunctionRef<void(TeamMember& member)> f);

}  // namespace mora
