// Waiting without the system, for what takes less time than a thread needs to fall asleep and wake.
#pragma once

#include <sched.h>

#include <atomic>
#include <cstdint>

namespace mora {

template <class Condition>
void spin_until(Condition met) {
  for (int64_t spins = 0; !met(); ++spins) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
    if (spins > 20000) ::sched_yield();  // somebody else needs the processor
  }
}

// Of threads that hold it for some tens of nanoseconds; for std::lock_guard.
class SpinLock {
 public:
  void lock() {
    while (taken_.exchange(true, std::memory_order_acquire))
      spin_until([this] { return !taken_.load(std::memory_order_relaxed); });
  }
  void unlock() { taken_.store(false, std::memory_order_release); }

 private:
  std::atomic<bool> taken_ = false;
};

}  // namespace mora
